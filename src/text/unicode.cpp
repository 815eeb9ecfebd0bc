#include "text/unicode.h"

#include "base/check.h"

#include <algorithm>
#include <utf8proc.h>

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

bool is_white_space(int32_t c) {
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

bool is_number(int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool is_word(int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    bool circled_letter = (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
                          (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
           category == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D || circled_letter;
}

size_t Normalized::original_position(size_t position) const {
    auto after = std::upper_bound(anchors.begin(), anchors.end(), position,
                                  [](size_t p, const Anchor& anchor) { return p < anchor.begin; });
    size_t end = after == anchors.end() ? original_size : after->original;
    const Anchor& anchor = *(after - 1);
    return std::min(anchor.original + (position - anchor.begin), end);
}

// Decomposed, each run of combining marks in order of class, composed again. utf8proc_map would do
// it, but its ordering takes quadratic time on a long run of marks.
static void append_composed(std::string& out, std::string_view text) {
    std::vector<utf8proc_int32_t> points;
    for (size_t at = 0; at < text.size();) {
        utf8proc_int32_t parts[32];
        int boundary = 0;
        auto count = utf8proc_decompose_char(next_code_point(text, at), parts, 32,
                                             UTF8PROC_DECOMPOSE, &boundary);
        CHECK(count >= 0 && count <= 32, "cannot normalize text: %s", utf8proc_errmsg(count));
        points.insert(points.end(), parts, parts + count);
    }
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
            plain &= (uint8_t)text[end] < 0xCC;
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
