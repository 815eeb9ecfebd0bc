#pragma once
// Python's str on well-formed UTF-8, for chat templates, which are written for Python. Positions and
// lengths are counted in characters (code points), as Python counts them.

#include "text/unicode.h"

#include <string>
#include <string_view>
#include <vector>

namespace python {

bool is_space(int32_t c);     // str.isspace: White_Space and the four separators of ASCII
bool is_printable(int32_t c); // what repr() writes as it is
bool is_letter(int32_t c);    // general category L
bool is_decimal(int32_t c);   // general category Nd
bool is_upper(int32_t c);     // a capital, as str.isupper asks of each
bool is_lower(int32_t c);
bool is_title(int32_t c); // a letter like Dz, of both

int64_t length(std::string_view text);
// The byte at which character `index` begins; the size for an index behind the last.
size_t position(std::string_view text, int64_t index);
std::vector<std::string> characters(std::string_view text);

enum Side { left = 1, right = 2, both = 3 };
std::string_view strip(std::string_view text, Side sides = both);
std::string_view strip(std::string_view text, std::string_view characters, Side sides);

// split(None, maximum) and split(separator, maximum); -1: no maximum. `from_right`: rsplit.
std::vector<std::string> split(std::string_view text, int64_t maximum, bool from_right);
std::vector<std::string> split(std::string_view text, std::string_view separator, int64_t maximum,
                               bool from_right);
std::vector<std::string> split_lines(std::string_view text, bool keep_ends);
// At most `maximum` times, -1: everywhere.
std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t maximum = -1);

// Full case mapping [Unicode 15, 3.13]: U+00DF becomes SS, a capital sigma at a word's end U+03C2.
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string
title(std::string_view text); // str.title(): a capital behind every character without case
std::string capitalize(std::string_view text);
std::string swap_case(std::string_view text);
std::string case_fold(std::string_view text);

} // namespace python
