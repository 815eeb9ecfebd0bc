#include "text/jinja/python_text.h"
#include "text/jinja/syntax.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>

namespace jinja {

void fail_at(const std::string& where, int line, const std::string& message) {
    fail("%s, line %d: %s", where.c_str(), line, message.c_str());
}

namespace {

// Jinja reads \r\n and \r as \n, and drops one line break at the end.
std::string with_line_feeds(const std::string& source) {
    std::string out;
    out.reserve(source.size());
    for (size_t i = 0; i < source.size(); ++i) {
        if (source[i] == '\r') {
            out += '\n';
            if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
        } else {
            out += source[i];
        }
    }
    return out;
}

struct Lexer {
    const std::string& source;
    const std::string& where;
    std::vector<Token> tokens;
    size_t at = 0;
    int line = 1;
    bool line_starting = true; // what was read last ends in a line break

    bool starts(const char* text) const { return source.compare(at, std::strlen(text), text) == 0; }

    void advance(size_t to) {
        if (to > at) line_starting = source[to - 1] == '\n';
        line += (int)std::count(source.begin() + at, source.begin() + to, '\n');
        at = to;
    }

    size_t behind_space(size_t from) const {
        while (from < source.size()) {
            size_t next = from;
            if (!python::is_space(next_code_point(source, next))) break;
            from = next;
        }
        return from;
    }

    void add(TokenKind kind, std::string text) {
        Token token;
        token.kind = kind;
        token.text = std::move(text);
        token.line = line;
        tokens.push_back(std::move(token));
    }

    // The data before a tag with the sign '-', '+' or none behind its opening brace.
    void add_data(std::string_view text, char sign, bool is_variable) {
        if (sign == '-') {
            text = python::strip(text, python::right);
        } else if (sign != '+' && !is_variable) {
            size_t break_at = text.rfind('\n');
            size_t begin = break_at == std::string_view::npos ? 0 : break_at + 1;
            bool at_line_start = begin > 0 || line_starting;
            if (at_line_start && python::strip(text.substr(begin)).empty())
                text = text.substr(0, begin);
        }
        if (!text.empty()) add(TokenKind::data, std::string(text));
    }

    // Where the end of a tag that begins at `from` ends, or `from` if none is there: "+%}", "-%}" and the
    // white space behind it, "%}" and the line break behind it.
    size_t behind_end(size_t from, const char* end, bool plus, bool trims_line) const {
        size_t mark = from;
        bool minus = source[mark] == '-';
        if (minus || (plus && source[mark] == '+')) ++mark;
        if (source.compare(mark, 2, end) != 0) return from;
        bool signed_end = mark > from;
        mark += 2;
        if (minus) return behind_space(mark);
        if (!signed_end && trims_line && mark < source.size() && source[mark] == '\n') ++mark;
        return mark;
    }

    char sign_at(size_t place) const {
        return place < source.size() && (source[place] == '-' || source[place] == '+')
                   ? source[place]
                   : 0;
    }

    // "{%", sign, `word`, "%}": where it ends, or 0.
    size_t behind_word_tag(size_t from, const char* word, bool is_end) const {
        size_t mark = from + 2;
        if (sign_at(mark)) ++mark;
        mark = behind_space(mark);
        if (source.compare(mark, std::strlen(word), word) != 0) return 0;
        mark = behind_space(mark + std::strlen(word));
        if (mark >= source.size()) return 0;
        size_t end = behind_end(mark, "%}", is_end, is_end);
        return end == mark ? 0 : end;
    }

    void read() {
        while (at < source.size()) {
            size_t tag = at;
            while ((tag = source.find('{', tag)) != std::string::npos) {
                char second = tag + 1 < source.size() ? source[tag + 1] : 0;
                if (second == '%' || second == '#' || second == '{') break;
                ++tag;
            }
            std::string_view rest = std::string_view(source).substr(at);
            if (tag == std::string::npos) {
                add(TokenKind::data, std::string(rest));
                break;
            }
            char kind = source[tag + 1], sign = sign_at(tag + 2);
            add_data(rest.substr(0, tag - at), sign, kind == '{');
            advance(tag);
            size_t raw = kind == '%' ? behind_word_tag(tag, "raw", false) : 0;
            if (raw) {
                read_raw(raw);
            } else if (kind == '#') {
                read_comment(tag + 2 + (sign != 0));
            } else {
                bool block = kind == '%';
                add(block ? TokenKind::block_begin : TokenKind::variable_begin, "");
                advance(tag + 2 + (sign != 0));
                read_tag(block);
            }
        }
        add(TokenKind::end, "");
    }

    void read_raw(size_t begin) {
        int first = line;
        advance(begin);
        for (size_t mark = source.find("{%", at); mark != std::string::npos;
             mark = source.find("{%", mark + 1)) {
            size_t end = behind_word_tag(mark, "endraw", true);
            if (!end) continue;
            add_data(std::string_view(source).substr(at, mark - at), sign_at(mark + 2), false);
            advance(end);
            return;
        }
        fail_at(where, first, "Missing end of raw directive");
    }

    void read_comment(size_t begin) {
        for (size_t mark = source.find("#}", begin); mark != std::string::npos;
             mark = source.find("#}", mark + 1)) {
            bool is_signed = mark > begin && sign_at(mark - 1);
            size_t from = is_signed ? mark - 1 : mark;
            advance(behind_end(from, "#}", true, true));
            return;
        }
        fail_at(where, line, "Missing end of comment tag");
    }

    void read_tag(bool block) {
        std::string open; // the closing brackets that are due
        while (at < source.size()) {
            if (open.empty()) {
                size_t end =
                    block ? behind_end(at, "%}", true, true) : behind_end(at, "}}", false, false);
                if (end != at) {
                    add(block ? TokenKind::block_end : TokenKind::variable_end, "");
                    advance(end);
                    return;
                }
            }
            size_t space = behind_space(at);
            if (space != at)
                advance(space);
            else if (!read_number() && !read_name() && !read_string())
                read_sign(open);
        }
    }

    bool digit(size_t place) const {
        return place < source.size() && source[place] >= '0' && source[place] <= '9';
    }

    // Behind digits with single underscores between them, from `from` on.
    size_t behind_digits(size_t from) const {
        if (!digit(from)) return from;
        while (digit(from) || (from < source.size() && source[from] == '_' && digit(from + 1)))
            ++from;
        return from;
    }

    void add_number(size_t end, bool real, int base) {
        std::string digits;
        for (char c : source.substr(at, end - at))
            if (c != '_') digits += c;
        add(real ? TokenKind::real : TokenKind::integer, digits);
        if (real) {
            tokens.back().number = Value::of(std::strtod(digits.c_str(), nullptr));
        } else {
            errno = 0;
            int64_t number = std::strtoll(digits.c_str() + (base == 10 ? 0 : 2), nullptr, base);
            if (errno) fail_at(where, line, "the integer " + digits + " is too large");
            tokens.back().number = Value::of(number);
        }
        advance(end);
    }

    bool read_number() {
        if (!digit(at)) return false;
        size_t whole = behind_digits(at), end = whole;
        if (at == 0 || source[at - 1] != '.') {
            if (end < source.size() && source[end] == '.' && digit(end + 1))
                end = behind_digits(end + 1);
            size_t exponent = end;
            if (exponent < source.size() && (source[exponent] | 32) == 'e') {
                size_t first = exponent + 1;
                if (sign_at(first)) ++first;
                if (digit(first)) end = behind_digits(first);
            }
            if (end != whole) {
                add_number(end, true, 10);
                return true;
            }
        }
        if (source[at] == '0') {
            static const std::pair<char, int> bases[] = {{'b', 2}, {'o', 8}, {'x', 16}};
            for (auto& entry : bases) {
                char letter = entry.first;
                int base = entry.second;
                if (at + 1 >= source.size() || (source[at + 1] | 32) != letter) continue;
                auto in_base = [&](size_t place) {
                    if (place >= source.size()) return false;
                    int c = source[place] | 32;
                    int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' ? c - 'a' + 10 : 99;
                    return value < base;
                };
                size_t mark = at + 2;
                while (in_base(mark) ||
                       (mark < source.size() && source[mark] == '_' && in_base(mark + 1)))
                    ++mark;
                if (mark == at + 2) break;
                add_number(mark, false, base);
                return true;
            }
            size_t zeros = at + 1; // "007" is 00 and 7, as Jinja reads it
            while (zeros < whole &&
                   (source[zeros] == '0' || (source[zeros] == '_' && source[zeros + 1] == '0')))
                ++zeros;
            whole = zeros;
        }
        add_number(whole, false, 10);
        return true;
    }

    bool read_name() {
        size_t end = at;
        while (end < source.size()) {
            size_t next = end;
            int32_t c = next_code_point(source, next);
            bool part = c == '_' || (c < 0x80 ? std::isalnum(c) != 0 : is_word(c));
            if (!part) break;
            end = next;
        }
        if (end == at) return false;
        add(TokenKind::name, source.substr(at, end - at));
        advance(end);
        return true;
    }

    bool read_string() {
        char quote = source[at];
        if (quote != '\'' && quote != '"') return false;
        size_t end = at + 1;
        while (end < source.size() && source[end] != quote) end += source[end] == '\\' ? 2 : 1;
        if (end >= source.size()) return false;
        add(TokenKind::string, unescape(source.substr(at + 1, end - at - 1)));
        advance(end + 1);
        return true;
    }

    // As Jinja does it: characters beyond ASCII become escapes, then all escapes are read, so that a
    // backslash before such a character takes the escape's own backslash.
    std::string unescape(const std::string& text) const {
        std::string out;
        for (size_t at_text = 0; at_text < text.size();) {
            char c = text[at_text++];
            if (c != '\\') {
                out += c;
                continue;
            }
            char next = text[at_text];
            if ((unsigned char)next >= 0x80) {
                int32_t code = next_code_point(text, at_text);
                out += format(code < 0x100     ? "\\x%02x"
                              : code < 0x10000 ? "\\u%04x"
                                               : "\\U%08x",
                              code);
                continue;
            }
            ++at_text;
            static const char names[] = "\\'\"abfnrtv", meant[] = "\\'\"\a\b\f\n\r\t\v";
            const char* found = std::strchr(names, next);
            if (next == '\n') continue;
            if (found && next) {
                out += meant[found - names];
            } else if (next >= '0' && next <= '7') {
                int code = next - '0';
                for (int i = 0;
                     i < 2 && at_text < text.size() && text[at_text] >= '0' && text[at_text] <= '7';
                     ++i)
                    code = code * 8 + (text[at_text++] - '0');
                append_utf8(out, code);
            } else if (next == 'x' || next == 'u' || next == 'U') {
                size_t count = next == 'x' ? 2 : next == 'u' ? 4 : 8;
                std::string digits = text.substr(at_text, count);
                bool hex = digits.size() == count &&
                           digits.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
                int64_t code = hex ? std::strtoll(digits.c_str(), nullptr, 16) : -1;
                if (code < 0 || code > 0x10FFFF)
                    fail_at(where, line,
                            std::string("a truncated or too large \\") + next + " in a string");
                if (code >= 0xD800 && code < 0xE000)
                    fail_at(where, line, "a surrogate \\u" + digits + " in a string is no text");
                append_utf8(out, (int32_t)code);
                at_text += count;
            } else if (next == 'N') {
                fail_at(where, line, "\\N{...} in a string is not supported");
            } else {
                out += std::string("\\") + next;
            }
        }
        return out;
    }

    void read_sign(std::string& open) {
        static const char* const signs[] = {"//", "**", "==", "!=", ">=", "<="};
        std::string sign(1, source[at]);
        for (const char* two : signs)
            if (starts(two)) sign = two;
        if (sign.size() == 1 && !std::strchr("+-/*%~[](){}><=.:|,;", sign[0])) {
            size_t behind = at;
            next_code_point(source, behind);
            fail_at(where, line,
                    "unexpected character " + jinja::repr(source.substr(at, behind - at)));
        }
        if (sign == "(") open += ')';
        if (sign == "[") open += ']';
        if (sign == "{") open += '}';
        if (sign == ")" || sign == "]" || sign == "}") {
            if (open.empty()) fail_at(where, line, "unexpected '" + sign + "'");
            if (open.back() != sign[0])
                fail_at(where, line, "unexpected '" + sign + "', expected '" + open.back() + "'");
            open.pop_back();
        }
        add(TokenKind::sign, sign);
        advance(at + sign.size());
    }
};

} // namespace

std::vector<Token> tokenize(const std::string& source, const std::string& where) {
    if (valid_utf8(source) != source) fail("%s: the chat template is not UTF-8", where.c_str());
    std::string text = with_line_feeds(source);
    if (!text.empty() && text.back() == '\n') text.pop_back();
    Lexer lexer{text, where, {}};
    lexer.read();
    return std::move(lexer.tokens);
}

} // namespace jinja
