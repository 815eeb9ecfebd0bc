#include "text/jinja/python_text.h"

#include <algorithm>
#include <unordered_map>
#include <utf8proc.h>

namespace python {

static utf8proc_category_t category(int32_t c) { return utf8proc_category(c); }

bool is_space(int32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

bool is_printable(int32_t c) {
    switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return c == ' ';
    default:
        return true;
    }
}

bool is_letter(int32_t c) {
    auto kind = category(c);
    return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(int32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }

// Beside the letters, the numerals and circled letters of Other_Uppercase and Other_Lowercase.
bool is_upper(int32_t c) {
    return category(c) == UTF8PROC_CATEGORY_LU || (c >= 0x2160 && c <= 0x216F) ||
           (c >= 0x24B6 && c <= 0x24CF) || (c >= 0x1F130 && c <= 0x1F149) ||
           (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}
bool is_lower(int32_t c) {
    return category(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA ||
           (c >= 0x2B0 && c <= 0x2B8) || c == 0x2C0 || c == 0x2C1 || (c >= 0x2E0 && c <= 0x2E4) ||
           c == 0x345 || c == 0x37A || (c >= 0x1D2C && c <= 0x1D6A) || c == 0x1D78 ||
           (c >= 0x1D9B && c <= 0x1DBF) || c == 0x2071 || c == 0x207F ||
           (c >= 0x2090 && c <= 0x209C) || (c >= 0x2170 && c <= 0x217F) ||
           (c >= 0x24D0 && c <= 0x24E9) || c == 0x2C7C || c == 0x2C7D || c == 0xA69C ||
           c == 0xA69D || c == 0xA770 || c == 0xA7F8 || c == 0xA7F9 || (c >= 0xAB5C && c <= 0xAB5F);
}
bool is_title(int32_t c) { return category(c) == UTF8PROC_CATEGORY_LT; }

static bool is_ascii(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return (unsigned char)c < 0x80; });
}

int64_t length(std::string_view text) {
    return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

size_t position(std::string_view text, int64_t index) {
    size_t at = 0;
    for (; index > 0 && at < text.size(); --index) do
            ++at;
        while (at < text.size() && (text[at] & 0xC0) == 0x80);
    return at;
}

std::vector<std::string> characters(std::string_view text) {
    std::vector<std::string> list;
    for (size_t at = 0; at < text.size();) {
        size_t begin = at;
        next_code_point(text, at);
        list.emplace_back(text.substr(begin, at - begin));
    }
    return list;
}

template <class Test> static std::string_view strip_if(std::string_view text, Side sides, Test in) {
    size_t begin = 0, end = text.size();
    while ((sides & left) && begin < end) {
        size_t at = begin;
        if (!in(next_code_point(text, at))) break;
        begin = at;
    }
    while ((sides & right) && end > begin) {
        size_t at = end - 1;
        while (at > begin && (text[at] & 0xC0) == 0x80) --at;
        size_t behind = at;
        if (!in(next_code_point(text, behind))) break;
        end = at;
    }
    return text.substr(begin, end - begin);
}

std::string_view strip(std::string_view text, Side sides) {
    return strip_if(text, sides, is_space);
}

std::string_view strip(std::string_view text, std::string_view characters, Side sides) {
    std::vector<int32_t> members;
    for (size_t at = 0; at < characters.size();) members.push_back(next_code_point(characters, at));
    return strip_if(text, sides, [&](int32_t c) {
        return std::find(members.begin(), members.end(), c) != members.end();
    });
}

std::vector<std::string> split(std::string_view text, int64_t maximum, bool from_right) {
    std::vector<std::string> parts;
    auto boundary = [](std::string_view in, Side from) { // the word at one end of `in`
        size_t at = from == left ? 0 : in.size();
        while (from == left ? at < in.size() : at > 0) {
            size_t next = at;
            if (from == right) {
                do --next;
                while (next > 0 && (in[next] & 0xC0) == 0x80);
                size_t behind = next;
                if (is_space(next_code_point(in, behind))) break;
            } else if (is_space(next_code_point(in, next)))
                break;
            at = next;
        }
        return at;
    };
    Side from = from_right ? right : left;
    for (text = strip(text, from); !text.empty(); text = strip(text, from)) {
        if (maximum >= 0 && (int64_t)parts.size() == maximum) {
            parts.emplace_back(text); // with the white space on its far side
            break;
        }
        size_t at = boundary(text, from);
        parts.emplace_back(from_right ? text.substr(at) : text.substr(0, at));
        text = from_right ? text.substr(0, at) : text.substr(at);
    }
    if (from_right) std::reverse(parts.begin(), parts.end());
    return parts;
}

std::vector<std::string> split(std::string_view text, std::string_view separator, int64_t maximum,
                               bool from_right) {
    std::vector<std::string> parts;
    while (maximum < 0 || (int64_t)parts.size() < maximum) {
        size_t at = from_right ? text.rfind(separator) : text.find(separator);
        if (at == std::string_view::npos) break;
        std::string_view behind = text.substr(at + separator.size()), before = text.substr(0, at);
        parts.emplace_back(from_right ? behind : before);
        text = from_right ? before : behind;
    }
    parts.emplace_back(text);
    if (from_right) std::reverse(parts.begin(), parts.end());
    return parts;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
    std::vector<std::string> lines;
    for (size_t at = 0, begin = 0; at < text.size();) {
        size_t end = at;
        int32_t c = next_code_point(text, at);
        bool breaks = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                      c == 0x2028 || c == 0x2029;
        if (breaks && c == '\r' && at < text.size() && text[at] == '\n') ++at;
        if (!breaks && at < text.size()) continue;
        if (!breaks || keep_ends) end = at;
        lines.emplace_back(text.substr(begin, end - begin));
        begin = at;
    }
    return lines;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t maximum) {
    std::string out;
    size_t at = 0;
    for (int64_t done = 0; maximum < 0 || done < maximum; ++done) {
        if (from.empty()) { // before every character and at the end
            if (done > 0 && at >= text.size()) break;
            size_t next = at;
            if (done > 0) next_code_point(text, next);
            out.append(text, at, next - at);
            at = next;
            out += to;
            continue;
        }
        size_t found = text.find(from, at);
        if (found == std::string_view::npos) break;
        out.append(text, at, found - at);
        out += to;
        at = found + from.size();
    }
    return out.append(text, std::min(at, text.size()));
}

// ---- case ----------------------------------------------------------------------------------------------

// Characters whose upper or title case is several characters [SpecialCasing.txt]: itself, upper, title.
static const char* const several =
    "\u00DF SS Ss \u0149 \u02BCN \u02BCN \u01F0 J\u030C J\u030C "
    "\u0390 \u0399\u0308\u0301 \u0399\u0308\u0301 "
    "\u03B0 \u03A5\u0308\u0301 \u03A5\u0308\u0301 \u0587 \u0535\u0552 \u0535\u0582 "
    "\u1E96 H\u0331 H\u0331 \u1E97 T\u0308 T\u0308 \u1E98 W\u030A W\u030A "
    "\u1E99 Y\u030A Y\u030A \u1E9A A\u02BE A\u02BE \u1F50 \u03A5\u0313 \u03A5\u0313 "
    "\u1F52 \u03A5\u0313\u0300 \u03A5\u0313\u0300 "
    "\u1F54 \u03A5\u0313\u0301 \u03A5\u0313\u0301 "
    "\u1F56 \u03A5\u0313\u0342 \u03A5\u0313\u0342 \u1F80 \u1F08\u0399 \u1F88 "
    "\u1F81 \u1F09\u0399 \u1F89 \u1F82 \u1F0A\u0399 \u1F8A \u1F83 \u1F0B\u0399 \u1F8B "
    "\u1F84 \u1F0C\u0399 \u1F8C \u1F85 \u1F0D\u0399 \u1F8D \u1F86 \u1F0E\u0399 \u1F8E "
    "\u1F87 \u1F0F\u0399 \u1F8F \u1F88 \u1F08\u0399 \u1F88 \u1F89 \u1F09\u0399 \u1F89 "
    "\u1F8A \u1F0A\u0399 \u1F8A \u1F8B \u1F0B\u0399 \u1F8B \u1F8C \u1F0C\u0399 \u1F8C "
    "\u1F8D \u1F0D\u0399 \u1F8D \u1F8E \u1F0E\u0399 \u1F8E \u1F8F \u1F0F\u0399 \u1F8F "
    "\u1F90 \u1F28\u0399 \u1F98 \u1F91 \u1F29\u0399 \u1F99 \u1F92 \u1F2A\u0399 \u1F9A "
    "\u1F93 \u1F2B\u0399 \u1F9B \u1F94 \u1F2C\u0399 \u1F9C \u1F95 \u1F2D\u0399 \u1F9D "
    "\u1F96 \u1F2E\u0399 \u1F9E \u1F97 \u1F2F\u0399 \u1F9F \u1F98 \u1F28\u0399 \u1F98 "
    "\u1F99 \u1F29\u0399 \u1F99 \u1F9A \u1F2A\u0399 \u1F9A \u1F9B \u1F2B\u0399 \u1F9B "
    "\u1F9C \u1F2C\u0399 \u1F9C \u1F9D \u1F2D\u0399 \u1F9D \u1F9E \u1F2E\u0399 \u1F9E "
    "\u1F9F \u1F2F\u0399 \u1F9F \u1FA0 \u1F68\u0399 \u1FA8 \u1FA1 \u1F69\u0399 \u1FA9 "
    "\u1FA2 \u1F6A\u0399 \u1FAA \u1FA3 \u1F6B\u0399 \u1FAB \u1FA4 \u1F6C\u0399 \u1FAC "
    "\u1FA5 \u1F6D\u0399 \u1FAD \u1FA6 \u1F6E\u0399 \u1FAE \u1FA7 \u1F6F\u0399 \u1FAF "
    "\u1FA8 \u1F68\u0399 \u1FA8 \u1FA9 \u1F69\u0399 \u1FA9 \u1FAA \u1F6A\u0399 \u1FAA "
    "\u1FAB \u1F6B\u0399 \u1FAB \u1FAC \u1F6C\u0399 \u1FAC \u1FAD \u1F6D\u0399 \u1FAD "
    "\u1FAE \u1F6E\u0399 \u1FAE \u1FAF \u1F6F\u0399 \u1FAF "
    "\u1FB2 \u1FBA\u0399 \u1FBA\u0345 \u1FB3 \u0391\u0399 \u1FBC "
    "\u1FB4 \u0386\u0399 \u0386\u0345 \u1FB6 \u0391\u0342 \u0391\u0342 "
    "\u1FB7 \u0391\u0342\u0399 \u0391\u0342\u0345 \u1FBC \u0391\u0399 \u1FBC "
    "\u1FC2 \u1FCA\u0399 \u1FCA\u0345 \u1FC3 \u0397\u0399 \u1FCC "
    "\u1FC4 \u0389\u0399 \u0389\u0345 \u1FC6 \u0397\u0342 \u0397\u0342 "
    "\u1FC7 \u0397\u0342\u0399 \u0397\u0342\u0345 \u1FCC \u0397\u0399 \u1FCC "
    "\u1FD2 \u0399\u0308\u0300 \u0399\u0308\u0300 "
    "\u1FD3 \u0399\u0308\u0301 \u0399\u0308\u0301 \u1FD6 \u0399\u0342 \u0399\u0342 "
    "\u1FD7 \u0399\u0308\u0342 \u0399\u0308\u0342 "
    "\u1FE2 \u03A5\u0308\u0300 \u03A5\u0308\u0300 "
    "\u1FE3 \u03A5\u0308\u0301 \u03A5\u0308\u0301 \u1FE4 \u03A1\u0313 \u03A1\u0313 "
    "\u1FE6 \u03A5\u0342 \u03A5\u0342 \u1FE7 \u03A5\u0308\u0342 \u03A5\u0308\u0342 "
    "\u1FF2 \u1FFA\u0399 \u1FFA\u0345 \u1FF3 \u03A9\u0399 \u1FFC "
    "\u1FF4 \u038F\u0399 \u038F\u0345 \u1FF6 \u03A9\u0342 \u03A9\u0342 "
    "\u1FF7 \u03A9\u0342\u0399 \u03A9\u0342\u0345 \u1FFC \u03A9\u0399 \u1FFC \uFB00 FF Ff "
    "\uFB01 FI Fi \uFB02 FL Fl \uFB03 FFI Ffi \uFB04 FFL Ffl \uFB05 ST St \uFB06 ST St "
    "\uFB13 \u0544\u0546 \u0544\u0576 \uFB14 \u0544\u0535 \u0544\u0565 "
    "\uFB15 \u0544\u053B \u0544\u056B \uFB16 \u054E\u0546 \u054E\u0576 "
    "\uFB17 \u0544\u053D \u0544\u056D ";

struct Cases {
    std::string upper, title;
};

static const std::unordered_map<int32_t, Cases>& special_cases() {
    static const auto table = [] {
        std::unordered_map<int32_t, Cases> cases;
        std::vector<std::string> words = split(several, -1, false);
        for (size_t i = 0; i + 2 < words.size(); i += 3) {
            size_t at = 0;
            cases[next_code_point(words[i], at)] = {words[i + 1], words[i + 2]};
        }
        return cases;
    }();
    return table;
}

static bool has_case(int32_t c) { return is_upper(c) || is_lower(c) || is_title(c); }

// What stands between the letters of a word without ending it [Unicode 15, 3.13, Case_Ignorable].
static bool is_case_ignorable(int32_t c) {
    switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x387 || c == 0x55F ||
               c == 0x5F4 || c == 0x2018 || c == 0x2019 || c == 0x2024 || c == 0x2027 ||
               c == 0xFE13 || c == 0xFE52 || c == 0xFE55 || c == 0xFF07 || c == 0xFF0E ||
               c == 0xFF1A;
    }
}

// A capital sigma in text[begin, end) is a final one when letters stand before it and none behind it.
static bool is_final_sigma(std::string_view text, size_t begin, size_t end) {
    bool before = false;
    for (size_t at = begin; at > 0;) {
        do --at;
        while (at > 0 && (text[at] & 0xC0) == 0x80);
        size_t behind = at;
        int32_t c = next_code_point(text, behind);
        if (is_case_ignorable(c)) continue;
        before = has_case(c);
        break;
    }
    if (!before) return false;
    for (size_t at = end; at < text.size();) {
        int32_t c = next_code_point(text, at);
        if (is_case_ignorable(c)) continue;
        return !has_case(c);
    }
    return true;
}

static void append_upper(std::string& out, int32_t c) {
    auto found = special_cases().find(c);
    if (found != special_cases().end())
        out += found->second.upper;
    else
        append_utf8(out, utf8proc_toupper(c));
}

static void append_title(std::string& out, int32_t c) {
    auto found = special_cases().find(c);
    if (found != special_cases().end())
        out += found->second.title;
    else
        append_utf8(out, utf8proc_totitle(c));
}

static void append_lower(std::string& out, int32_t c, std::string_view text, size_t begin,
                         size_t end) {
    if (c == 0x130)
        out += "i\u0307";
    else if (c == 0x3A3)
        out += is_final_sigma(text, begin, end) ? "\u03C2" : "\u03C3";
    else
        append_utf8(out, utf8proc_tolower(c));
}

template <class Append> static std::string map_characters(std::string_view text, Append append) {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
        size_t begin = at;
        int32_t c = next_code_point(text, at);
        append(out, c, begin, at);
    }
    return out;
}

std::string upper(std::string_view text) {
    return map_characters(
        text, [](std::string& out, int32_t c, size_t, size_t) { append_upper(out, c); });
}

std::string lower(std::string_view text) {
    return map_characters(text, [&](std::string& out, int32_t c, size_t begin, size_t end) {
        append_lower(out, c, text, begin, end);
    });
}

std::string title(std::string_view text) {
    bool inside = false; // behind a character with case
    return map_characters(text, [&](std::string& out, int32_t c, size_t begin, size_t end) {
        if (inside)
            append_lower(out, c, text, begin, end);
        else
            append_title(out, c);
        inside = has_case(c);
    });
}

std::string capitalize(std::string_view text) {
    return map_characters(text, [&](std::string& out, int32_t c, size_t begin, size_t end) {
        if (begin == 0)
            append_title(out, c);
        else
            append_lower(out, c, text, begin, end);
    });
}

std::string swap_case(std::string_view text) {
    return map_characters(text, [&](std::string& out, int32_t c, size_t begin, size_t end) {
        if (is_upper(c))
            append_lower(out, c, text, begin, end);
        else if (is_lower(c))
            append_upper(out, c);
        else
            out.append(text, begin, end - begin);
    });
}

std::string case_fold(std::string_view text) {
    if (is_ascii(text)) return lower(text);
    return map_characters(text, [](std::string& out, int32_t c, size_t, size_t) {
        int32_t folded[8];
        int boundary = 0;
        auto count = utf8proc_decompose_char(c, folded, 8, UTF8PROC_CASEFOLD, &boundary);
        for (int i = 0; i < std::max<int>(0, (int)std::min<utf8proc_ssize_t>(count, 8)); ++i)
            append_utf8(out, folded[i]);
    });
}

} // namespace python
