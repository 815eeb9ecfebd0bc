#include "text/segments.h"

#include "base/check.h"
#include "text/unicode.h"

#include <algorithm>

static bool is_wide_stop(int32_t c, bool semicolons) { // 。！？
    return c == 0x3002 || c == 0xFF01 || c == 0xFF1F || (semicolons && c == 0xFF1B);
}

static bool is_latin_stop(int32_t c, bool semicolons) {
    return c == '.' || c == '!' || c == '?' || (semicolons && c == ';');
}

static bool is_closing_mark(int32_t c) { // ” ’ 」 』 》 〉 】 ） ) ] } " '
    static const int32_t marks[] = {0x201D, 0x2019, 0x300D, 0x300F, 0x300B, 0x3009, 0x3011,
                                    0xFF09, ')',    ']',    '}',    '"',    '\''};
    return std::find(std::begin(marks), std::end(marks), c) != std::end(marks);
}

// Moves `at` over characters that `wanted` accepts.
template <class F> static void skip(std::string_view text, size_t& at, F wanted) {
    while (at < text.size()) {
        size_t next = at;
        if (!wanted(next_code_point(text, next))) return;
        at = next;
    }
}

static std::vector<Segment> sentences(std::string_view text, bool semicolons) {
    std::vector<Segment> result;
    size_t begin = 0, at = 0;
    skip(text, at, is_white_space);
    while (at < text.size()) {
        size_t before = at;
        int32_t c = next_code_point(text, at);
        if (c != '\n') {
            bool wide = false;
            at = before;
            skip(text, at, [&](int32_t stop) {
                wide = wide || is_wide_stop(stop, semicolons);
                return is_wide_stop(stop, semicolons) || is_latin_stop(stop, semicolons);
            });
            if (at == before) { // no stop: an ordinary character
                next_code_point(text, at);
                continue;
            }
            skip(text, at, is_closing_mark);
            size_t behind = at;
            bool space = at == text.size() || is_white_space(next_code_point(text, behind));
            if (!wide && !space) continue;
        }
        skip(text, at, is_white_space);
        result.push_back({begin, at});
        begin = at;
    }
    if (begin < text.size()) result.push_back({begin, text.size()});
    return result;
}

static bool is_blank(int32_t c) { return c == ' ' || c == '\t' || c == 0x3000; }

// Moves over blanks and the line break behind them, if one is there.
static bool skip_blank_line(std::string_view text, size_t& at) {
    size_t end = at;
    skip(text, end, is_blank);
    if (text.substr(end, 2) == "\r\n") ++end;
    if (end == text.size() || text[end] != '\n') return false;
    at = end + 1;
    return true;
}

static std::vector<Segment> steps(std::string_view text) {
    std::vector<Segment> result;
    size_t begin = 0, at = 0;
    while (skip_blank_line(text, at)) {
    }
    while (at < text.size()) {
        if (text[at] != '\n') {
            ++at;
            continue;
        }
        int breaks = 1;
        for (++at; skip_blank_line(text, at);) ++breaks;
        size_t rest = at;
        skip(text, rest, is_blank);
        if (rest == text.size()) break; // nothing but blanks follows
        if (breaks < 2) continue;
        result.push_back({begin, at});
        begin = at;
    }
    if (begin < text.size()) result.push_back({begin, text.size()});
    return result;
}

struct Tag {
    size_t begin, end; // with its angle brackets
    std::string name;
    bool closing;
};

// The next <name> or </name> from `at` on; a name begins with a letter and goes on with letters, digits, - and _.
static bool find_tag(std::string_view text, size_t at, Tag& tag) {
    auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
    auto more = [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-'; };
    for (; (at = text.find('<', at)) != std::string_view::npos; ++at) {
        bool closing = at + 1 < text.size() && text[at + 1] == '/';
        size_t first = at + 1 + closing, last = first;
        while (last < text.size() && more(text[last])) ++last;
        if (last == text.size() || text[last] != '>' || last == first || !letter(text[first]))
            continue;
        tag = {at, last + 1, std::string(text.substr(first, last - first)), closing};
        return true;
    }
    return false;
}

static std::vector<Segment> fields(std::string_view text) {
    std::vector<Segment> result;
    Segment open{0, 0, ""};
    auto close = [&](size_t end, const std::string& next) {
        size_t content = open.begin;
        skip(text, content, is_white_space);
        bool blank_beginning = open.begin == 0 && open.name.empty() && content >= end;
        if (blank_beginning) {
            open.name = next; // white space at the beginning belongs to the first field
            return;
        }
        open.end = end;
        if (open.begin < end) result.push_back(open);
        open = {end, 0, next};
    };
    Tag tag;
    for (size_t at = 0; find_tag(text, at, tag); at = tag.end) {
        if (!tag.closing) {
            close(tag.begin, tag.name);
        } else if (tag.name == open.name) {
            skip(text, tag.end, is_white_space);
            close(tag.end, "");
        }
    }
    open.end = text.size();
    if (open.begin < open.end) result.push_back(open);
    return result;
}

Segmentation segmentation_of(const std::string& name) {
    if (name == "sentence") return Segmentation::sentence;
    if (name == "blank_line") return Segmentation::blank_line;
    CHECK(name == "tag", "\"%s\" is no way to cut a text; sentence, blank_line and tag are",
          name.c_str());
    return Segmentation::tag;
}

std::vector<Segment> segments(std::string_view text, Segmentation kind, bool semicolons) {
    switch (kind) {
    case Segmentation::sentence:
        return sentences(text, semicolons);
    case Segmentation::blank_line:
        return steps(text);
    case Segmentation::tag:
        break;
    }
    return fields(text);
}

std::vector<int> token_segments(std::span<const size_t> token_begin,
                                std::span<const Segment> segments) {
    std::vector<int> result(token_begin.size(), -1);
    if (segments.empty()) return result;
    for (size_t t = 0; t < token_begin.size(); ++t) {
        auto after = std::upper_bound(
            segments.begin(), segments.end(), token_begin[t],
            [](size_t byte, const Segment& segment) { return byte < segment.begin; });
        if (after == segments.begin()) continue; // before the first
        const Segment& segment = *(after - 1);
        const bool last = after == segments.end();
        if (token_begin[t] < segment.end || last) result[t] = (int)(after - segments.begin()) - 1;
    }
    return result;
}

std::vector<int> token_ends(std::span<const int> token_segment, size_t segments) {
    std::vector<int> ends(segments, 0);
    for (size_t t = 0; t < token_segment.size(); ++t)
        if (token_segment[t] >= 0) ends[token_segment[t]] = (int)t + 1;
    for (size_t s = 1; s < segments; ++s) ends[s] = std::max(ends[s], ends[s - 1]);
    return ends;
}
