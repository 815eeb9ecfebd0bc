#pragma once
// What the tokenizer needs to know of Unicode: UTF-8, normalization form C, white space, and the
// alphabet in which byte-level BPE writes bytes.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// The code point at text[at]; `at` moves behind it. Ill-formed bytes: -1, and `at` moves behind the
// longest piece that could begin a character [Unicode 15, 3.9, "maximal subpart"].
int32_t next_code_point(std::string_view text, size_t& at);
void append_utf8(std::string& text, int32_t code_point);

// The text itself, with U+FFFD in the place of every ill-formed piece, as Rust's from_utf8_lossy.
std::string valid_utf8(std::string_view bytes);
// Where bytes stand in valid_utf8(bytes), ascending; a byte of an ill-formed piece is at its U+FFFD, and
// npos stays npos.
std::vector<size_t> positions_in_valid_utf8(std::string_view bytes, std::vector<size_t> positions);

bool is_white_space(int32_t code_point); // property White_Space
bool is_number(int32_t code_point);      // general category N
bool is_han_or_kana(int32_t code_point); // Han, hiragana, katakana: a character is a word
int32_t lower_case(int32_t code_point);  // simple case mapping
bool is_word(int32_t code_point); // a character of words: Alphabetic, M, Nd, Pc, Join_Control

// What is in a general category ("L", "Lu") or in a script ("han"; those that tokenizers split by) by
// Unicode 16, as members of a class of PCRE2, which knows Unicode 14 at least. "": no such script.
std::string category_members(const std::string& category);
std::string script_members(const std::string& name);

// Normalization form C of well-formed text.
struct Normalized {
    struct Anchor {
        size_t begin, original; // the same place in both texts, bytes
    };
    std::string text;
    std::vector<Anchor> anchors; // ascending, from {0, 0} on
    size_t original_size = 0;
    size_t original_position(size_t position) const; // of a byte of `text`
};
Normalized normalize_nfc(std::string_view text);

// Byte-level BPE writes byte b as the printable character byte_alphabet()[b]: the printable bytes of
// Latin-1 as they are, the other 68 from U+0100 on [Radford et al. 2019, encoder.py].
const std::array<int32_t, 256>& byte_alphabet();
// The bytes that a token stands for. False: a character is not of the alphabet.
bool alphabet_to_bytes(std::string_view token, std::string& bytes);
