#include "text/unicode.h"

#include "base/check.h"

#include <algorithm>
#include <iterator>
#include <utf8proc.h>
#include <utility>

struct Range {
    int32_t first, last;
};

// Unicode versions differ: the `tokenizers` of today splits by Unicode 16 and normalizes by Unicode 9,
// and Debian's PCRE2 and utf8proc stand between. What Unicode 15 to 16 added to 14 or put into another
// general category, and what of Unicode 10 to 14 has a combining class or a decomposition
// (tests/reference/unicode_ranges.py prints these tables).
struct CategoryRange {
    int32_t first, last;
    char category[3];
};
static const CategoryRange new_characters[] = {
    {0x897, 0x897, "Mn"},     {0xCF3, 0xCF3, "Mc"},     {0xECE, 0xECE, "Mn"},
    {0x1B4E, 0x1B4F, "Po"},   {0x1B7F, 0x1B7F, "Po"},   {0x1C89, 0x1C89, "Lu"},
    {0x1C8A, 0x1C8A, "Ll"},   {0x2427, 0x2429, "So"},   {0x2FFC, 0x2FFF, "So"},
    {0x31E4, 0x31E5, "So"},   {0x31EF, 0x31EF, "So"},   {0xA7CB, 0xA7CC, "Lu"},
    {0xA7CD, 0xA7CD, "Ll"},   {0xA7DA, 0xA7DA, "Lu"},   {0xA7DB, 0xA7DB, "Ll"},
    {0xA7DC, 0xA7DC, "Lu"},   {0x105C0, 0x105F3, "Lo"}, {0x10D40, 0x10D49, "Nd"},
    {0x10D4A, 0x10D4D, "Lo"}, {0x10D4E, 0x10D4E, "Lm"}, {0x10D4F, 0x10D4F, "Lo"},
    {0x10D50, 0x10D65, "Lu"}, {0x10D69, 0x10D6D, "Mn"}, {0x10D6E, 0x10D6E, "Pd"},
    {0x10D6F, 0x10D6F, "Lm"}, {0x10D70, 0x10D85, "Ll"}, {0x10D8E, 0x10D8F, "Sm"},
    {0x10EC2, 0x10EC4, "Lo"}, {0x10EFC, 0x10EFF, "Mn"}, {0x1123F, 0x11240, "Lo"},
    {0x11241, 0x11241, "Mn"}, {0x11380, 0x11389, "Lo"}, {0x1138B, 0x1138B, "Lo"},
    {0x1138E, 0x1138E, "Lo"}, {0x11390, 0x113B5, "Lo"}, {0x113B7, 0x113B7, "Lo"},
    {0x113B8, 0x113BA, "Mc"}, {0x113BB, 0x113C0, "Mn"}, {0x113C2, 0x113C2, "Mc"},
    {0x113C5, 0x113C5, "Mc"}, {0x113C7, 0x113CA, "Mc"}, {0x113CC, 0x113CD, "Mc"},
    {0x113CE, 0x113CE, "Mn"}, {0x113CF, 0x113CF, "Mc"}, {0x113D0, 0x113D0, "Mn"},
    {0x113D1, 0x113D1, "Lo"}, {0x113D2, 0x113D2, "Mn"}, {0x113D3, 0x113D3, "Lo"},
    {0x113D4, 0x113D5, "Po"}, {0x113D7, 0x113D8, "Po"}, {0x113E1, 0x113E2, "Mn"},
    {0x116D0, 0x116E3, "Nd"}, {0x1171E, 0x1171E, "Mc"}, {0x11B00, 0x11B09, "Po"},
    {0x11BC0, 0x11BE0, "Lo"}, {0x11BE1, 0x11BE1, "Po"}, {0x11BF0, 0x11BF9, "Nd"},
    {0x11F00, 0x11F01, "Mn"}, {0x11F02, 0x11F02, "Lo"}, {0x11F03, 0x11F03, "Mc"},
    {0x11F04, 0x11F10, "Lo"}, {0x11F12, 0x11F33, "Lo"}, {0x11F34, 0x11F35, "Mc"},
    {0x11F36, 0x11F3A, "Mn"}, {0x11F3E, 0x11F3F, "Mc"}, {0x11F40, 0x11F40, "Mn"},
    {0x11F41, 0x11F41, "Mc"}, {0x11F42, 0x11F42, "Mn"}, {0x11F43, 0x11F4F, "Po"},
    {0x11F50, 0x11F59, "Nd"}, {0x11F5A, 0x11F5A, "Mn"}, {0x1342F, 0x1342F, "Lo"},
    {0x13439, 0x1343F, "Cf"}, {0x13440, 0x13440, "Mn"}, {0x13441, 0x13446, "Lo"},
    {0x13447, 0x13455, "Mn"}, {0x13460, 0x143FA, "Lo"}, {0x16100, 0x1611D, "Lo"},
    {0x1611E, 0x16129, "Mn"}, {0x1612A, 0x1612C, "Mc"}, {0x1612D, 0x1612F, "Mn"},
    {0x16130, 0x16139, "Nd"}, {0x16D40, 0x16D42, "Lm"}, {0x16D43, 0x16D6A, "Lo"},
    {0x16D6B, 0x16D6C, "Lm"}, {0x16D6D, 0x16D6F, "Po"}, {0x16D70, 0x16D79, "Nd"},
    {0x18CFF, 0x18CFF, "Lo"}, {0x1B132, 0x1B132, "Lo"}, {0x1B155, 0x1B155, "Lo"},
    {0x1CC00, 0x1CCEF, "So"}, {0x1CCF0, 0x1CCF9, "Nd"}, {0x1CD00, 0x1CEB3, "So"},
    {0x1D2C0, 0x1D2D3, "No"}, {0x1DF25, 0x1DF2A, "Ll"}, {0x1E030, 0x1E06D, "Lm"},
    {0x1E08F, 0x1E08F, "Mn"}, {0x1E4D0, 0x1E4EA, "Lo"}, {0x1E4EB, 0x1E4EB, "Lm"},
    {0x1E4EC, 0x1E4EF, "Mn"}, {0x1E4F0, 0x1E4F9, "Nd"}, {0x1E5D0, 0x1E5ED, "Lo"},
    {0x1E5EE, 0x1E5EF, "Mn"}, {0x1E5F0, 0x1E5F0, "Lo"}, {0x1E5F1, 0x1E5FA, "Nd"},
    {0x1E5FF, 0x1E5FF, "Po"}, {0x1F6DC, 0x1F6DC, "So"}, {0x1F774, 0x1F776, "So"},
    {0x1F77B, 0x1F77F, "So"}, {0x1F7D9, 0x1F7D9, "So"}, {0x1F8B2, 0x1F8BB, "So"},
    {0x1F8C0, 0x1F8C1, "So"}, {0x1FA75, 0x1FA77, "So"}, {0x1FA87, 0x1FA89, "So"},
    {0x1FA8F, 0x1FA8F, "So"}, {0x1FAAD, 0x1FAAF, "So"}, {0x1FABB, 0x1FABF, "So"},
    {0x1FAC6, 0x1FAC6, "So"}, {0x1FACE, 0x1FACF, "So"}, {0x1FADA, 0x1FADC, "So"},
    {0x1FADF, 0x1FADF, "So"}, {0x1FAE8, 0x1FAE9, "So"}, {0x1FAF7, 0x1FAF8, "So"},
    {0x1FBCB, 0x1FBEF, "So"}, {0x2B739, 0x2B739, "Lo"}, {0x2EBF0, 0x2EE5D, "Lo"},
    {0x31350, 0x323AF, "Lo"}};
// The same for the scripts that tokenizers split by.
struct Script {
    const char *name, *pcre2, *new_members;
};
static const Script scripts[] = {
    {"arabic", "Arabic", "\\x{897}\\x{10EC2}-\\x{10EC4}\\x{10EFC}-\\x{10EFF}"},
    {"cyrillic", "Cyrillic", "\\x{1C89}\\x{1C8A}\\x{1E030}-\\x{1E06D}\\x{1E08F}"},
    {"devanagari", "Devanagari", "\\x{11B00}-\\x{11B09}"},
    {"greek", "Greek", ""},
    {"han", "Han", "\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}"},
    {"hangul", "Hangul", ""},
    {"hebrew", "Hebrew", ""},
    {"hiragana", "Hiragana", "\\x{1B132}"},
    {"katakana", "Katakana", "\\x{1B155}"},
    {"latin", "Latin", "\\x{A7CB}-\\x{A7CD}\\x{A7DA}-\\x{A7DC}\\x{1DF25}-\\x{1DF2A}"},
    {"thai", "Thai", ""}};
static const Range not_normalized[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
    {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
    {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930},
    {0x11935, 0x11935}, {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943},
    {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99},
    {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x16FF0, 0x16FF1},
    {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}};
static const Range rust_numbers[] = {{0x11DE0, 0x11DE9},
                                     {0x16FF4, 0x16FF6}}; // Unicode 17, for Digits

template <size_t n> static bool in(const Range (&ranges)[n], int32_t c) {
    const Range* after = std::upper_bound(
        ranges, ranges + n, c, [](int32_t x, const Range& range) { return x < range.first; });
    return after != ranges && c <= (after - 1)->last;
}

static const CategoryRange* new_character(int32_t c) {
    const CategoryRange* after =
        std::upper_bound(std::begin(new_characters), std::end(new_characters), c,
                         [](int32_t x, const CategoryRange& range) { return x < range.first; });
    return after != std::begin(new_characters) && c <= (after - 1)->last ? after - 1 : nullptr;
}

// General category by Unicode 16, "Lu".
static const char* category_of(int32_t c) {
    const CategoryRange* found = new_character(c);
    return found ? found->category : utf8proc_category_string(c);
}

static std::string class_members(int32_t first, int32_t last) {
    return format("\\x{%X}-\\x{%X}", (unsigned)first, (unsigned)last);
}

std::string category_members(const std::string& category) {
    auto within = [&](const char* of) { return category.compare(0, 2, of, category.size()) == 0; };
    std::string members = "\\p{" + category + "}";
    if (category != "C" && category != "Cn" && category != "Mn") {
        int32_t first = 0, last = -1; // neighbours are one range
        for (const CategoryRange& range : new_characters) {
            if (!within(range.category)) continue;
            if (last >= 0 && range.first != last + 1)
                members += class_members(std::exchange(first, range.first), last);
            else if (last < 0)
                first = range.first;
            last = range.last;
        }
        return last < 0 ? members : members + class_members(first, last);
    }
    // Characters have left these categories, and a class cannot take them away.
    members.clear();
    for (int32_t c = 0, first = -1; c <= 0x110000; ++c) {
        const bool in_it = c < 0x110000 && (c < 0xD800 || c > 0xDFFF) && within(category_of(c));
        if (in_it && first < 0) first = c;
        if (!in_it && first >= 0) members += class_members(std::exchange(first, -1), c - 1);
    }
    return members;
}

std::string script_members(const std::string& name) {
    for (const Script& script : scripts)
        if (name == script.name)
            return std::string("\\p{sc:") + script.pcre2 + "}" + script.new_members;
    return "";
}

int32_t next_code_point(std::string_view text, size_t& at) {
    auto byte = [&](size_t i) { return i < text.size() ? (uint8_t)text[i] : 0; };
    uint8_t lead = byte(at++);
    if (lead < 0x80) return lead;
    int more = lead >= 0xC2 && lead <= 0xDF ? 1 : (lead & 0xF0) == 0xE0 ? 2 : lead <= 0xF4 ? 3 : 0;
    if (lead < 0xC2 || more == 0) return -1;
    // The second byte is narrower where it would give an overlong form, a surrogate or > U+10FFFF.
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    int32_t code_point = lead & (0x3F >> more);
    for (int i = 0; i < more; ++i) {
        uint8_t next = byte(at);
        if (next < low || next > high) return -1;
        low = 0x80, high = 0xBF;
        code_point = code_point << 6 | (next & 0x3F);
        ++at;
    }
    return code_point;
}

void append_utf8(std::string& text, int32_t code_point) {
    utf8proc_uint8_t bytes[4];
    text.append((const char*)bytes, (size_t)utf8proc_encode_char(code_point, bytes));
}

std::string valid_utf8(std::string_view bytes) {
    std::string text;
    text.reserve(bytes.size());
    for (size_t at = 0; at < bytes.size();) {
        size_t begin = at;
        if (next_code_point(bytes, at) >= 0)
            text.append(bytes.substr(begin, at - begin));
        else
            text += "\uFFFD";
    }
    return text;
}

std::vector<size_t> positions_in_valid_utf8(std::string_view bytes, std::vector<size_t> positions) {
    size_t at = 0, shift = 0, next = 0; // a U+FFFD has 3 bytes, an ill-formed piece 1 to 3
    while (at < bytes.size()) {
        size_t begin = at;
        const bool well_formed = next_code_point(bytes, at) >= 0;
        for (; next < positions.size(); ++next) {
            size_t& position = positions[next];
            if (position == std::string::npos) continue;
            if (position >= at) break;
            position = (well_formed ? position : begin) + shift;
        }
        if (!well_formed) shift += 3 - (at - begin);
    }
    for (; next < positions.size(); ++next)
        if (positions[next] != std::string::npos) positions[next] += shift;
    return positions;
}

bool is_white_space(int32_t c) {
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

bool is_number(int32_t c) { return category_of(c)[0] == 'N' || in(rust_numbers, c); }

static const Range han_and_kana[] = {{0x2E80, 0x2FDF},   {0x3005, 0x3007},   {0x3021, 0x3029},
                                     {0x3038, 0x303B},   {0x3041, 0x3096},   {0x309D, 0x309F},
                                     {0x30A1, 0x30FA},   {0x30FC, 0x30FF},   {0x31F0, 0x31FF},
                                     {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},
                                     {0xFF66, 0xFF9D},   {0x16FF0, 0x16FF6}, {0x1AFF0, 0x1AFFE},
                                     {0x1B000, 0x1B167}, {0x20000, 0x2FA1F}, {0x30000, 0x323AF}};

bool is_han_or_kana(int32_t c) { return in(han_and_kana, c); }

int32_t lower_case(int32_t c) { return utf8proc_tolower(c); }

bool is_word(int32_t c) {
    const std::string_view category = category_of(c);
    bool circled_letter = (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
                          (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
    return category[0] == 'L' || category[0] == 'M' || category == "Nd" || category == "Nl" ||
           category == "Pc" || c == 0x200C || c == 0x200D || circled_letter;
}

size_t Normalized::original_position(size_t position) const {
    auto after = std::upper_bound(anchors.begin(), anchors.end(), position,
                                  [](size_t p, const Anchor& anchor) { return p < anchor.begin; });
    size_t end = after == anchors.end() ? original_size : after->original;
    const Anchor& anchor = *(after - 1);
    return std::min(anchor.original + (position - anchor.begin), end);
}

// Characters that normalization does not know: they stay, and nothing joins or passes them.
static bool is_fixed(int32_t c) {
    if (in(not_normalized, c)) return true;
    const CategoryRange* found = new_character(c);
    return found && (found->category[0] == 'L' || found->category[0] == 'M');
}

// Puts each run of combining marks in order of class and composes. utf8proc_map would do it all, but
// its ordering takes quadratic time on a long run of marks.
static void append_composed_points(std::string& out, std::vector<utf8proc_int32_t>& points) {
    auto combining_class = [](utf8proc_int32_t c) {
        return utf8proc_get_property(c)->combining_class;
    };
    for (size_t begin = 0; begin < points.size(); ++begin) {
        size_t end = begin;
        while (end < points.size() && combining_class(points[end])) ++end;
        std::stable_sort(points.begin() + begin, points.begin() + end,
                         [&](auto a, auto b) { return combining_class(a) < combining_class(b); });
        begin = end;
    }
    auto count = utf8proc_normalize_utf32(points.data(), (utf8proc_ssize_t)points.size(),
                                          (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    CHECK(count >= 0, "cannot normalize text: %s", utf8proc_errmsg(count));
    for (utf8proc_ssize_t i = 0; i < count; ++i) append_utf8(out, points[i]);
}

static void append_composed(std::string& out, std::string_view text) {
    std::vector<utf8proc_int32_t> points;
    for (size_t at = 0; at < text.size();) {
        utf8proc_int32_t parts[32];
        int boundary = 0;
        size_t begin = at;
        int32_t c = next_code_point(text, at);
        if (is_fixed(c)) {
            append_composed_points(out, points);
            points.clear();
            out.append(text.substr(begin, at - begin));
            continue;
        }
        auto count = utf8proc_decompose_char(c, parts, 32, UTF8PROC_DECOMPOSE, &boundary);
        CHECK(count >= 0 && count <= 32, "cannot normalize text: %s", utf8proc_errmsg(count));
        points.insert(points.end(), parts, parts + count);
    }
    append_composed_points(out, points);
}

// An ASCII character never joins what stands before it, and text below U+0300 is in form C already, so
// pieces that begin with an ASCII character are normalized each on its own.
Normalized normalize_nfc(std::string_view text) {
    Normalized result;
    result.original_size = text.size();
    result.anchors.push_back({0, 0});
    for (size_t begin = 0; begin < text.size();) {
        size_t end = begin + 1;
        bool plain = (uint8_t)text[begin] < 0xCC; // 0xCC 0x80 is U+0300
        for (; end < text.size() && (uint8_t)text[end] >= 0x80; ++end)
            plain = plain && (uint8_t)text[end] < 0xCC;
        std::string_view piece = text.substr(begin, end - begin);
        if (plain) {
            result.text.append(piece);
        } else {
            result.anchors.push_back({result.text.size(), begin});
            append_composed(result.text, piece);
            result.anchors.push_back({result.text.size(), end});
        }
        begin = end;
    }
    return result;
}

const std::array<int32_t, 256>& byte_alphabet() {
    static const std::array<int32_t, 256> alphabet = [] {
        std::array<int32_t, 256> table;
        int32_t other = 0x100;
        for (int b = 0; b < 256; ++b) {
            bool printable =
                (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
            table[b] = printable ? b : other++;
        }
        return table;
    }();
    return alphabet;
}

bool alphabet_to_bytes(std::string_view token, std::string& bytes) {
    static const std::array<int16_t, 0x144> byte_of = [] {
        std::array<int16_t, 0x144> table;
        table.fill(-1);
        for (int b = 0; b < 256; ++b) table[byte_alphabet()[b]] = (int16_t)b;
        return table;
    }();
    bytes.clear();
    for (size_t at = 0; at < token.size();) {
        int32_t c = next_code_point(token, at);
        if (c < 0 || c >= (int32_t)byte_of.size() || byte_of[c] < 0) return false;
        bytes += (char)byte_of[c];
    }
    return true;
}
