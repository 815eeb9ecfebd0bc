#include "task/answer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

// ---- characters ---------------------------------------------------------------------------------

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static std::string trim(const std::string& text) {
    size_t begin = 0, end = text.size();
    while (begin < end && is_space(text[begin])) ++begin;
    while (end > begin && is_space(text[end - 1])) --end;
    return text.substr(begin, end - begin);
}

static void replace_all(std::string& text, const std::string& from, const std::string& to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
}

// The position of the brace that closes the one at `open`, or npos.
static size_t closing_brace(const std::string& text, size_t open) {
    int depth = 0;
    for (size_t i = open; i < text.size(); ++i) {
        if (text[i] == '\\')
            ++i; // "\{" is a sign, not a brace
        else if (text[i] == '{')
            ++depth;
        else if (text[i] == '}' && --depth == 0)
            return i;
    }
    return std::string::npos;
}

// An argument of a LaTeX command: {..} or a single character. Moves `at` behind it.
static std::string argument(const std::string& text, size_t& at) {
    while (at < text.size() && text[at] == ' ') ++at;
    if (at >= text.size()) return "";
    if (text[at] != '{') return text.substr(at++, 1);
    size_t close = closing_brace(text, at);
    std::string inside = text.substr(at + 1, close == std::string::npos ? close : close - at - 1);
    at = close == std::string::npos ? text.size() : close + 1;
    return inside;
}

// Fractions of whole numbers become "a/b", with a space behind a digit: 1\frac{1}{2} is a mixed number.
static std::string expand_fractions(const std::string& text) {
    std::string out;
    for (size_t at = 0; at < text.size();) {
        size_t next = at;
        for (const char* command : {"\\frac", "\\dfrac", "\\tfrac"})
            if (text.compare(at, std::strlen(command), command) == 0)
                next = at + std::strlen(command);
        std::string above, below;
        if (next > at) above = trim(argument(text, next)), below = trim(argument(text, next));
        if (above.empty() || below.empty() || !std::all_of(above.begin(), above.end(), is_digit) ||
            !std::all_of(below.begin(), below.end(), is_digit)) {
            out += text[at++];
            continue;
        }
        if (!out.empty() && is_digit(out.back())) out += ' ';
        out += above + "/" + below;
        at = next;
    }
    return out;
}

// What LaTeX, Unicode and currency add around a number, rewritten to plain signs.
static std::string plain(std::string text) {
    text = expand_fractions(text);
    static const char* const rewrites[][2] = {
        {"\xe2\x88\x92", "-"}, {"{,}", ","},         {"\\!", ""},       {"\\,", ""},
        {"\\;", " "},          {"\\:", " "},         {"\\ ", " "},      {"~", " "},
        {"\\%", "%"},          {"\\$", "$"},         {"\\left", ""},    {"\\right", ""},
        {"^{\\circ}", " "},    {"^\\circ", " "},     {"\xc2\xb0", " "}, {"\\times", "*"},
        {"\\cdot", "*"},       {"\xc3\x97", "*"},    {"\xc2\xb7", "*"}, {"\xe2\x82\xac", "$"},
        {"\xc2\xa3", "$"},     {"\xc2\xa5", "$"},    {"\\text", " "},   {"\\mathrm", " "},
        {"\\mbox", " "},       {"\\quad", " "},      {"\\(", " "},      {"\\)", " "},
        {"\xc2\xa0", " "},     {"\xe2\x80\xaf", " "}};
    for (auto& rewrite : rewrites) replace_all(text, rewrite[0], rewrite[1]);
    return text;
}

// ---- numbers in running text ----------------------------------------------------------------------

static const int largest_exponent = 400; // beyond: not a number

struct Found {
    Number number;
    size_t begin, end;
};

// Digits with thousands separators and decimal point: value = digits / 10^decimals.
struct Decimal {
    std::string digits;
    int decimals = 0;
    bool whole = true; // no decimal point
};

static bool scan_decimal(const std::string& text, size_t& at, Decimal& decimal) {
    size_t i = at;
    while (i < text.size() && is_digit(text[i])) decimal.digits += text[i++];
    // 1 to 3 digits, then groups of exactly three
    auto group = [&](size_t comma) {
        for (size_t j = comma + 1; j < comma + 4; ++j)
            if (j >= text.size() || !is_digit(text[j])) return false;
        return comma + 4 >= text.size() || !is_digit(text[comma + 4]);
    };
    if (!decimal.digits.empty() && decimal.digits.size() <= 3)
        for (; i < text.size() && text[i] == ',' && group(i); i += 4)
            decimal.digits += text.substr(i + 1, 3);
    if (i + 1 < text.size() && text[i] == '.' && is_digit(text[i + 1])) {
        decimal.whole = false;
        for (++i; i < text.size() && is_digit(text[i]); ++decimal.decimals)
            decimal.digits += text[i++];
    }
    if (decimal.digits.empty()) return false;
    at = i;
    return true;
}

// The exponent behind a decimal: e3, E+3, * 10^3, x 10^{-3}. Returns false if it is out of bounds.
static bool scan_exponent(const std::string& text, size_t& at, int& exponent) {
    size_t i = at;
    bool braces = false;
    if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
        ++i;
    } else {
        while (i < text.size() && text[i] == ' ') ++i;
        if (i >= text.size() || (text[i] != '*' && text[i] != 'x')) return true;
        for (++i; i < text.size() && text[i] == ' ';) ++i;
        if (text.compare(i, 3, "10^") != 0) return true;
        i += 3;
        braces = i < text.size() && text[i] == '{';
        i += braces;
    }
    bool negative = i < text.size() && text[i] == '-';
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
    if (i >= text.size() || !is_digit(text[i])) return true;
    size_t first = i;
    while (i < text.size() && is_digit(text[i])) ++i;
    if (braces && (i >= text.size() || text[i] != '}')) return true;
    std::string digits = text.substr(first, i - first);
    digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1));
    at = i + braces;
    if (digits.size() > 3 || std::atoi(digits.c_str()) > largest_exponent) return false;
    exponent = (negative ? -1 : 1) * std::atoi(digits.c_str());
    return true;
}

// "a/b" of whole numbers from `at` on.
static bool scan_fraction(const std::string& text, size_t& at, std::string& above,
                          std::string& below) {
    size_t i = at;
    Decimal a, b;
    if (!scan_decimal(text, i, a) || !a.whole) return false;
    if (i >= text.size() || text[i] != '/') return false;
    ++i;
    if (!scan_decimal(text, i, b) || !b.whole || is_zero(decimal_number(b.digits, 0))) return false;
    if (i < text.size() && text[i] == '/') return false; // a date
    above = a.digits, below = b.digits, at = i;
    return true;
}

// Sign and currency in front of the digits at `at`, no further back than `floor`: where they begin.
static size_t scan_front(const std::string& text, size_t at, size_t floor, bool& negative) {
    size_t begin = at;
    if (begin > floor && text[begin - 1] == '$') --begin;
    size_t sign = begin;
    while (sign > floor && text[sign - 1] == ' ') --sign;
    if (sign == floor || (text[sign - 1] != '-' && text[sign - 1] != '+')) return begin;
    size_t before = sign - 1;
    while (before > 0 && text[before - 1] == ' ') --before;
    char left = before > 0 ? text[before - 1] : '=';
    bool operation = is_digit(left) || left == ')' || left == '%' || left == '}';
    bool hyphen = is_letter(left) && before == sign - 1;
    bool apart = sign != begin && left != '='; // "- 5" opens a list, except behind "="
    if (operation || hyphen || apart) return begin;
    negative = text[sign - 1] == '-';
    begin = sign - 1;
    if (begin > floor && text[begin - 1] == '$') --begin;
    return begin;
}

// The next number from `at` on.
static std::optional<Found> next_number(const std::string& text, size_t at) {
    for (size_t i = at; i < text.size(); ++i) {
        bool starts =
            is_digit(text[i]) || (text[i] == '.' && i + 1 < text.size() && is_digit(text[i + 1]));
        if (!starts) continue;
        char left = i > 0 ? text[i - 1] : 0;
        bool exponent_brace = i > 1 && left == '{' && text[i - 2] == '^';
        Found found;
        bool good = !(is_letter(left) || left == '_' || left == '^' || exponent_brace);
        size_t end = i;
        std::string above, below;
        int exponent = 0;
        Decimal decimal;
        std::optional<Number> value;
        if (left != '/' && scan_fraction(text, end, above, below)) {
            value = quotient(decimal_number(above, 0), decimal_number(below, 0));
        } else {
            scan_decimal(text, end, decimal);
            size_t next = end; // the fraction of a mixed number
            while (next < text.size() && text[next] == ' ') ++next;
            if (decimal.whole && next > end && scan_fraction(text, next, above, below) &&
                (above.size() < below.size() || (above.size() == below.size() && above < below))) {
                value = mixed_number(decimal_number(decimal.digits, 0),
                                     *quotient(decimal_number(above, 0), decimal_number(below, 0)));
                end = next;
            } else {
                good = scan_exponent(text, end, exponent) && good;
                if ((int)decimal.digits.size() <= longest_number)
                    value = decimal_number(decimal.digits, decimal.decimals - exponent);
            }
        }
        good = good && value && end - i <= (size_t)longest_number;
        if (end < text.size() && text[end] == '^') good = false; // a power is not worked out
        if (!good) {
            i = end - 1;
            continue;
        }
        found.number = *value;
        found.begin = scan_front(text, i, at, found.number.negative);
        if (is_zero(found.number)) found.number.negative = false;
        size_t sign = end;
        while (sign < text.size() && text[sign] == ' ') ++sign;
        for (const char* percent : {"%", "percent"})
            if (text.compare(sign, std::strlen(percent), percent) == 0) {
                found.number.percent = true;
                found.number.denominator += "00";
                end = sign + std::strlen(percent);
            }
        found.end = end;
        return found;
    }
    return std::nullopt;
}

std::optional<Number> parse_number(const std::string& text) {
    Value value = read_value(text);
    if (value.kind != Value::Kind::number) return std::nullopt;
    return value.number;
}

// ---- answers ------------------------------------------------------------------------------------

// The last complete \boxed{..}: where it begins, and its inside.
static size_t last_box(const std::string& text, std::string& inside) {
    size_t last = std::string::npos;
    for (size_t at = 0; (at = text.find("\\boxed", at)) != std::string::npos; at += 6) {
        size_t open = text.find_first_not_of(' ', at + 6);
        if (open == std::string::npos || text[open] != '{') continue;
        size_t close = closing_brace(text, open);
        if (close == std::string::npos) continue;
        last = at, inside = trim(text.substr(open + 1, close - open - 1));
    }
    return last;
}

// The number of a line that is a sentence: "7 (that is 3 + 4)", "The answer is 18 per day.". Before it stand
// words alone, none of which takes it back, and behind it no formula goes on.
static std::optional<Found> number_of_sentence(const std::string& line) {
    std::optional<Found> found = next_number(line, 0);
    if (!found) return std::nullopt;
    std::string word;
    for (size_t i = 0; i <= found->begin; ++i) {
        if (i < found->begin && is_letter(line[i])) {
            word += line[i];
            continue;
        }
        const bool variable = word.size() == 1 && word != "a" && word != "A" && word != "I";
        if (variable || word == "not" || word == "no" || word == "never") return std::nullopt;
        word.clear();
        if (i < found->begin && !is_space(line[i]) && !std::strchr(":,.'*\"", line[i]))
            return std::nullopt;
    }
    size_t next = found->end;
    while (next < line.size() && is_space(line[next])) ++next;
    size_t letters = next;
    while (letters < line.size() && is_letter(line[letters])) ++letters;
    const bool apart = next > found->end;
    const bool sentence =
        next == line.size() || (letters > next + 1) ||
        (apart && (line[next] == '(' || line.compare(next, 2, "a ") == 0)) ||
        ((line[next] == ',' || line[next] == '.' || line[next] == ';' || line[next] == '*') &&
         (next + 1 == line.size() || is_space(line[next + 1]) || line[next + 1] == '*'));
    return sentence ? found : std::nullopt;
}

static Answer number_answer(const std::string& text, bool marked, const Number& number) {
    Answer answer{text, marked, {}};
    answer.value.kind = Value::Kind::number, answer.value.number = number;
    return answer;
}

std::optional<Answer> extract_answer(const std::string& text, bool marked_only) {
    std::string inside;
    size_t hashes = text.rfind("####"), box = last_box(text, inside);
    if (box != std::string::npos && (hashes == std::string::npos || box > hashes)) {
        if (inside.empty()) return std::nullopt;
        return Answer{inside, true, read_value(inside)};
    }
    if (hashes != std::string::npos) {
        size_t begin = hashes + 4;
        std::string line = trim(text.substr(begin, text.find('\n', begin) - begin));
        if (line.empty()) return std::nullopt;
        Answer answer{line, true, read_value(line)};
        if (answer.value.kind == Value::Kind::number) return answer;
        if (auto found = number_of_sentence(plain(line)))
            return number_answer(line, true, found->number);
        return answer;
    }
    if (marked_only) return std::nullopt;
    std::string line = plain(text);
    std::optional<Found> last;
    for (auto found = next_number(line, 0); found; found = next_number(line, found->end))
        last = found;
    if (!last) return std::nullopt;
    return number_answer(line.substr(last->begin, last->end - last->begin), false, last->number);
}

bool answer_matches(const Answer& answer, const std::string& gold) {
    const Value right = read_value(gold);
    return same_value(answer.value, right) ||
           (right.kind != Value::Kind::number && same_value(read_value(answer.text), right));
}

std::string answer_key(const Answer& answer) { return value_key(answer.value); }
