#pragma once
// A text cut into segments: sentences, steps between blank lines, or tagged fields. Segments are spans of
// bytes that follow one another and give the text again; nothing is re-encoded, so tokens are shared out by
// the byte at which each begins.
//
//   sentence    A run of 。！？.!? ends one; a run of Latin stops alone only before white space or the end of
//               the text ("3.5" and "a.b" stay whole). Closing quotes and brackets behind the run belong to
//               it, then white space. A line feed always ends one, with the white space behind it.
//               Abbreviations ("e.g. this") are cut, too: known, and left so.
//   blank_line  A step ends behind a run of two or more line breaks (\n or \r\n; a line of blanks is a blank
//               line), which belongs to it. Code fences are nothing special.
//   tag         A field begins at each <name> and ends behind its </name> and the white space there, or
//               before the next <name>. What no tag encloses is a segment without a name.
//
// White space at the beginning of the text belongs to the first segment. An empty text has none.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct Segment {
    size_t begin = 0, end = 0; // bytes [begin, end) of the text
    std::string name{};        // of a tagged field
    bool operator==(const Segment&) const = default;
};

enum class Segmentation { sentence, blank_line, tag };
Segmentation segmentation_of(const std::string& name); // "sentence" | "blank_line" | "tag"

// semicolons: sentences end at ；and ; as well.
std::vector<Segment> segments(std::string_view text, Segmentation kind, bool semicolons = false);

// For each token the index of the segment that holds its first byte; -1 where none does (segments that
// leave gaps). token_begin: as Tokenizer::decode gives it; npos, a token without bytes such as the end of
// the sequence, and bytes behind the last segment belong to the last segment. No segments: all -1.
std::vector<int> token_segments(std::span<const size_t> token_begin,
                                std::span<const Segment> segments);

// The exclusive token end of each segment, for segments without gaps: increasing, the last one the number of
// tokens. A segment in which no token begins has the end of the one before it.
std::vector<int> token_ends(std::span<const int> token_segment, size_t segments);
