#include "task/formula.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

namespace {

constexpr size_t longest_formula = 4000; // bytes; beyond, a text as it stands
constexpr int deepest = 40;              // groups in groups

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '~'; }
bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}
bool is_capital(const std::string& word) {
    return word.size() == 1 && word[0] >= 'A' && word[0] <= 'Z';
}

std::string lower(std::string word) {
    for (char& c : word)
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
    return word;
}

// ---- tokens -------------------------------------------------------------------------------------

struct Token {
    enum class Kind { number, word, symbol, sign } kind; // symbol: \pi, \theta, sqrt, log
    std::string text;
    Number number;
    bool spaced = false; // white space stood before it
    bool prose = false;  // in \text{..}
    bool is(const char* sign) const { return kind == Kind::sign && text == sign; }
};
using Tokens = std::vector<Token>;

// LaTeX commands by what they mean here. "" : nothing, " " : a space, other: a sign or (behind '@') a symbol.
const std::map<std::string, std::string>& commands() {
    static const std::map<std::string, std::string> table = {
        // clang-format off
        {"left", ""}, {"right", ""}, {"big", ""}, {"Big", ""}, {"bigg", ""}, {"Bigg", ""}, {"bigl", ""},
        {"bigr", ""}, {"Bigl", ""}, {"Bigr", ""}, {"displaystyle", ""}, {"textstyle", ""}, {"limits", ""},
        {"mathbf", ""}, {"mathit", ""}, {"mathsf", ""}, {"mathbb", ""}, {"mathcal", ""}, {"boldsymbol", ""},
        {"bm", ""}, {"boxed", ""}, {"fbox", ""}, {"bf", ""}, {"rm", ""}, {"it", ""}, {"mathop", ""},
        {",", ""}, {"!", ""}, {";", " "}, {":", " "}, {" ", " "}, {"quad", " "}, {"qquad", " "},
        {"\\", " "}, {"(", " "}, {")", " "}, {"[", " "}, {"]", " "}, {"$", ""}, {"dollar", ""}, {"%", "%"},
        {"{", "{"}, {"}", "}"}, {"lbrace", "{"}, {"rbrace", "}"}, {"langle", "<<"}, {"rangle", ">>"},
        {"|", "|"}, {"vert", "|"}, {"lvert", "|"}, {"rvert", "|"}, {"mid", "|"},
        {"le", "<="}, {"leq", "<="}, {"leqslant", "<="}, {"ge", ">="}, {"geq", ">="}, {"geqslant", ">="},
        {"lt", "<"}, {"gt", ">"}, {"ne", "!="}, {"neq", "!="}, {"approx", "~"}, {"equiv", "=="},
        {"in", "in"}, {"to", "->"}, {"rightarrow", "->"}, {"cup", "cup"}, {"cap", "cap"},
        {"times", "*"}, {"cdot", "*"}, {"ast", "*"}, {"div", "/"}, {"pm", "+-"}, {"mp", "-+"},
        {"ldots", "..."}, {"dots", "..."}, {"cdots", "..."}, {"prime", "'"}, {"colon", ":"},
        {"emptyset", "@emptyset"}, {"varnothing", "@emptyset"}, {"circ", "@degree"}, {"degree", "@degree"},
        {"lnot", "not"}, {"neg", "not"},
        // clang-format on
    };
    return table;
}

const std::vector<std::pair<std::string, std::string>>& characters() { // UTF-8, as commands
    static const std::vector<std::pair<std::string, std::string>> table = {
        // clang-format off
        {"−", "-"}, {"–", "-"}, {"—", "-"}, {"×", "*"}, {"·", "*"}, {"⋅", "*"}, {"∙", "*"}, {"∗", "*"},
        {"÷", "/"}, {"∕", "/"}, {"⁄", "/"}, {"≤", "<="}, {"≥", ">="}, {"⩽", "<="}, {"⩾", ">="},
        {"≠", "!="}, {"≈", "~"}, {"≡", "=="}, {"∈", "in"}, {"→", "->"}, {"∪", "cup"}, {"∩", "cap"},
        {"±", "+-"}, {"∓", "-+"}, {"…", "..."}, {"⟨", "<<"}, {"⟩", ">>"}, {"√", "@sqrt"}, {"π", "@pi"},
        {"θ", "@theta"}, {"α", "@alpha"}, {"β", "@beta"}, {"γ", "@gamma"}, {"λ", "@lambda"},
        {"μ", "@mu"}, {"φ", "@phi"}, {"ω", "@omega"}, {"σ", "@sigma"}, {"∞", "@infty"},
        {"∅", "@emptyset"}, {"°", "@degree"}, {"€", ""}, {"£", ""}, {"¥", ""}, {"₹", ""}, {"¬", "not"},
        {"′", "'"}, {"\u00a0", " "}, {"\u2009", " "}, {"\u202f", " "}, {"\u200b", ""}, {"（", "("},
        {"）", ")"}, {"，", ","}, {"：", ":"}, {"＝", "="},
        // clang-format on
    };
    return table;
}

const char* const superscripts[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};

const std::set<std::string> text_commands = {
    "text", "textbf",       "textit", "textrm", "textsf", "mathrm",    "mbox",
    "hbox", "operatorname", "emph",   "textup", "texttt", "textnormal"};
const std::set<std::string> fractions = {"frac", "dfrac", "tfrac", "cfrac"};
const std::set<std::string> functions = {
    "sin",      "cos",   "tan",  "cot",   "csc",   "arcsin", "arccos",    "arctan",  "sinh",
    "cosh",     "tanh",  "log",  "ln",    "lg",    "exp",    "sqrt",      "root",    "max",
    "gcd",      "lcm",   "lim",  "det",   "mod",   "sup",    "inf",       "sum",     "int",
    "prod",     "not",   "no",   "abs",   "floor", "ceil",   "factorial", "squared", "cubed",
    "negative", "minus", "plus", "times", "am",    "pm"};

bool is_open(const Token& t) { return t.is("(") || t.is("[") || t.is("{") || t.is("<<"); }
bool is_close(const Token& t) { return t.is(")") || t.is("]") || t.is("}") || t.is(">>"); }

struct Scanner {
    const std::string& s;
    bool prose;
    int level; // groups around this text
    Tokens& out;
    size_t at = 0;
    bool spaced = false;

    void put(Token::Kind kind, const std::string& text) {
        out.push_back({kind, text, {}, spaced, prose});
        spaced = false;
    }
    void put_sign(const std::string& text) { put(Token::Kind::sign, text); }
    void put_all(const Tokens& tokens) {
        for (const Token& token : tokens) {
            out.push_back(token);
            out.back().spaced = out.back().spaced || spaced;
            spaced = false;
        }
    }
    // One token as it is, several in parentheses.
    void put_group(const Tokens& tokens) {
        if (tokens.size() == 1) return put_all(tokens);
        put_sign("("), put_all(tokens), put_sign(")");
    }
    // What a table says of a command or a character.
    void put_meaning(const std::string& meaning) {
        if (meaning.empty()) return;
        if (meaning == " ") {
            spaced = true;
        } else if (meaning == "@degree") {
            put(Token::Kind::word, "degree"), out.back().prose = true;
        } else if (meaning[0] == '@') {
            put(Token::Kind::symbol, meaning.substr(1));
        } else {
            put_sign(meaning);
        }
    }

    bool starts(const std::string& text) const { return s.compare(at, text.size(), text) == 0; }
    char peek(size_t ahead = 0) const { return at + ahead < s.size() ? s[at + ahead] : '\0'; }

    Tokens scan(const std::string& text, bool as_prose) const {
        Tokens tokens;
        if (level < deepest) Scanner{text, as_prose, level + 1, tokens}.run();
        return tokens;
    }

    // The text of {..}, or of the single command, run of digits (plain: of one digit) or character here.
    std::string argument(bool all_digits) {
        while (is_space(peek())) ++at;
        size_t begin = at;
        if (peek() == '{') {
            int depth = 0;
            for (; at < s.size(); ++at) {
                if (s[at] == '\\') {
                    ++at;
                    continue;
                }
                if (s[at] == '{') ++depth;
                if (s[at] == '}' && --depth == 0) break;
            }
            const size_t end = std::min(at, s.size());
            at = std::min(at + 1, s.size());
            return s.substr(begin + 1, end - begin - 1);
        }
        if (all_digits && (peek() == '-' || peek() == '+') && is_digit(peek(1))) ++at;
        if (is_digit(peek())) {
            do ++at;
            while (all_digits && is_digit(peek()));
        } else if (peek() == '\\') {
            ++at;
            if (!is_letter(peek()))
                ++at;
            else
                while (is_letter(peek())) ++at;
            at = std::min(at, s.size());
        } else if (at < s.size()) {
            ++at;
            while (at < s.size() && ((unsigned char)s[at] & 0xC0) == 0x80) ++at;
        }
        return s.substr(begin, at - begin);
    }

    void fraction() {
        Tokens above = scan(argument(false), prose), below = scan(argument(false), prose);
        if (above.empty() || below.empty()) return put(Token::Kind::symbol, "frac");
        // \frac{-1}{2} is -\frac{1}{2} where nothing stands before it
        const bool first =
            out.empty() || is_open(out.back()) ||
            (out.back().kind == Token::Kind::sign && std::strchr(",;=<>", out.back().text.back()));
        const bool sum = std::any_of(above.begin() + 1, above.end(), [](const Token& t) {
            return t.is("-") || t.is("+") || t.is("+-");
        });
        if (first && above.size() > 1 && above[0].is("-") && !sum)
            put_sign("-"), above.erase(above.begin());
        if (!out.empty() && out.back().kind == Token::Kind::number) spaced = true; // 1\frac{1}{2}
        is_factor(above) ? put_all(above) : put_group(above);
        put_sign("/");
        is_power(below) ? put_all(below) : put_group(below);
    }
    // What needs no parentheses above a line: 2\sqrt{3}, x^2. Below it: \sqrt{3}, x^2.
    static bool is_factor(const Tokens& tokens) {
        int depth = 0;
        for (size_t i = 0; i < tokens.size(); ++i) {
            const Token& t = tokens[i];
            depth += is_open(t) - is_close(t);
            const bool sign = t.kind == Token::Kind::sign && !is_close(t) && !t.is("*") &&
                              !t.is("^") && !t.is("_");
            const bool numbers = i && t.kind == Token::Kind::number && tokens[i - 1].kind == t.kind;
            if (depth == 0 && (sign || numbers)) return false;
        }
        return true;
    }
    static bool is_power(const Tokens& tokens) {
        if (tokens.size() < 3 || tokens[0].kind == Token::Kind::sign) return false;
        const bool raised = tokens[1].is("^") || tokens[1].is("_");
        if (raised && tokens.size() == 3) return true;
        if (!raised && tokens[0].kind != Token::Kind::symbol) return false;
        int depth = 0;
        for (size_t i = raised ? 2 : 1; i < tokens.size(); ++i) {
            depth += is_open(tokens[i]) - is_close(tokens[i]);
            if (depth == 0) return i + 1 == tokens.size();
        }
        return false;
    }

    void root() {
        std::string degree;
        if (peek() == '[') {
            const size_t end = std::min(s.find(']', at), s.size());
            degree = s.substr(at + 1, end - at - 1), at = std::min(end + 1, s.size());
        }
        put(Token::Kind::symbol, degree.empty() ? "sqrt" : "root" + degree);
        radicand(false);
    }
    // Always in parentheses: \sqrt2, \sqrt{2} and sqrt(2) are one.
    void radicand(bool all_digits) {
        while (is_space(peek())) ++at;
        if (peek() == '(') return;
        const Tokens inside = scan(argument(all_digits), prose);
        put_sign("("), put_all(inside), put_sign(")");
    }

    void command() {
        ++at;
        std::string name(1, peek());
        if (at < s.size()) ++at;
        if (is_letter(name[0]) && !(name[0] & 0x80))
            while (is_letter(peek()) && !(peek() & 0x80)) name += s[at++];
        if (name == "left" || name == "right") {
            while (is_space(peek())) ++at;
            if (peek() == '.') ++at;
            return;
        }
        if (fractions.count(name)) return fraction();
        if (name == "sqrt") return root();
        if (text_commands.count(name)) {
            const Tokens inside = scan(argument(false), true);
            if (inside.empty()) spaced = true;
            return put_all(inside);
        }
        auto known = commands().find(name);
        if (known != commands().end()) return put_meaning(known->second);
        put(Token::Kind::symbol, name);
        if (peek() == '{') { // \overline{AB}
            const Tokens inside = scan(argument(false), prose);
            if (!inside.empty()) put_sign("("), put_all(inside), put_sign(")");
        }
    }

    void raised() { // behind ^
        const Tokens exponent = scan(argument(true), prose);
        const bool degree = exponent.size() == 1 && exponent[0].text == "degree";
        const bool ordinal = exponent.size() == 1 && exponent[0].kind == Token::Kind::word &&
                             exponent[0].text.size() == 2; // 7^{th}
        if (degree || ordinal || (exponent.size() == 1 && exponent[0].is("'")))
            return put_all(exponent);
        put_sign("^"), put_group(exponent);
    }

    bool group_of_three(size_t from) const {
        for (size_t i = from; i < from + 3; ++i)
            if (i >= s.size() || !is_digit(s[i])) return false;
        return from + 3 >= s.size() || !is_digit(s[from + 3]);
    }
    bool inside_brackets() const {
        int depth = 0;
        for (const Token& t : out) depth += is_open(t) - is_close(t);
        return depth > 0;
    }

    void number() {
        const size_t begin = at;
        std::string digits;
        int decimals = 0;
        while (is_digit(peek())) digits += s[at++];
        if (!digits.empty() && digits.size() <= 3) {
            const bool plain_comma = !inside_brackets();
            for (;;) {
                size_t comma = 0;
                for (const char* spelling : {"{,}", ",\\!", ","})
                    if (!comma && starts(spelling) && (spelling[1] || plain_comma))
                        comma = std::strlen(spelling);
                if (!comma || !group_of_three(at + comma)) break;
                digits += s.substr(at + comma, 3), at += comma + 3;
            }
        }
        if (peek() == '.' && is_digit(peek(1)))
            for (++at; is_digit(peek()); ++decimals) digits += s[at++];
        if (peek() == 'e' || peek() == 'E') {
            const size_t sign = peek(1) == '-' || peek(1) == '+';
            size_t end = at + 1 + sign;
            while (end < s.size() && is_digit(s[end])) ++end;
            if (end > at + 1 + sign && end - at <= 5) {
                decimals -= std::stoi(s.substr(at + 1, end - at - 1));
                at = end;
            }
        }
        const bool fits =
            (int)digits.size() <= longest_number && std::abs(decimals) <= longest_number;
        put(fits ? Token::Kind::number : Token::Kind::symbol, s.substr(begin, at - begin));
        if (!fits) return;
        out.back().number = decimal_number(digits, decimals);
        // of 1,234.50: 1234.5
        digits.append((size_t)std::max(-decimals, 0), '0');
        decimals = std::max(decimals, 0);
        digits.insert(0, (size_t)std::max(decimals + 1 - (int)digits.size(), 0), '0');
        std::string below = digits.substr(digits.size() - (size_t)decimals);
        below.erase(below.find_last_not_of('0') + 1);
        out.back().text =
            number_key(decimal_number(digits.substr(0, digits.size() - (size_t)decimals), 0)) +
            (below.empty() ? "" : "." + below);
    }

    void word() {
        const size_t begin = at;
        while (is_letter(peek())) {
            if ((unsigned char)peek() >= 0x80 && at > begin && meaning_here()) break;
            ++at;
        }
        const std::string text = s.substr(begin, at - begin);
        if (text == "sqrt") {
            put(Token::Kind::symbol, text);
            if (peek() == '{') radicand(false);
        } else if (text == "pi" || text == "infty") {
            put(Token::Kind::symbol, text);
        } else if (text == "infinity") {
            put(Token::Kind::symbol, "infty");
        } else if (lower(text) == "percent") {
            put_sign("%");
        } else {
            put(Token::Kind::word, text);
        }
    }

    const std::string* meaning_here() {
        for (auto& [character, meaning] : characters())
            if (starts(character)) return &meaning;
        for (const char* digit : superscripts)
            if (starts(digit)) return &characters()[0].second;
        return nullptr;
    }

    bool special_character() {
        for (auto& [character, meaning] : characters())
            if (starts(character)) {
                at += character.size();
                put_meaning(meaning);
                if (meaning == "@sqrt") radicand(true);
                return true;
            }
        std::string exponent;
        for (bool more = true; more;) {
            more = false;
            for (int d = 0; d < 10; ++d)
                if (starts(superscripts[d]))
                    exponent += (char)('0' + d), at += std::strlen(superscripts[d]), more = true;
        }
        if (exponent.empty()) return false;
        put_sign("^"), put_all(scan(exponent, prose));
        return true;
    }

    void run() {
        while (at < s.size()) {
            const char c = s[at];
            if (is_space(c)) {
                spaced = true, ++at;
            } else if (c == '\\') {
                command();
            } else if (c == '{' || c == '}' || c == '$') {
                ++at; // groups are nothing by themselves; $ is currency or the edge of a formula
            } else if (c == '^') {
                ++at, raised();
            } else if (c == '_') {
                ++at;
                const Tokens index = scan(argument(true), prose);
                put_sign("_"), put_group(index);
            } else if (is_digit(c) || (c == '.' && is_digit(peek(1)))) {
                number();
            } else if ((unsigned char)c >= 0x80 && special_character()) {
            } else if (is_letter(c)) {
                word();
            } else if (starts("**")) { // a power, or bold type around the whole
                at += 2;
                const size_t rest = s.find_first_not_of(" .*", at);
                if (!out.empty() && rest != std::string::npos) raised();
            } else {
                std::string sign(1, c);
                ++at;
                if (peek() == '=' && (c == '<' || c == '>' || c == '!' || c == '='))
                    sign += '=', ++at;
                put_sign(sign == "==" ? "=" : sign);
            }
        }
    }
};

// ---- from tokens to values ----------------------------------------------------------------------

struct Span {
    const Token *first, *last;
    size_t size() const { return (size_t)(last - first); }
    const Token& operator[](size_t i) const { return first[i]; }
    const Token& back() const { return last[-1]; }
    const Token* begin() const { return first; }
    const Token* end() const { return last; }
};

// One spelling: without spaces, but between words; "*" only between numbers.
std::string spelling(Span span) {
    std::string text;
    auto solid = [](const Token& t) { return t.kind != Token::Kind::sign; };
    const Token* before = nullptr;
    for (const Token* t = span.first; t < span.last; ++t) {
        const bool more = t + 1 < span.last;
        const bool begins = !before || is_open(*before) || before->is(",") || before->is("=");
        if (t->is("+") && begins) continue;
        if (t->is("*") && before && more &&
            !(before->kind == Token::Kind::number && t[1].kind == Token::Kind::number))
            continue;
        // (x)/2 is x/2, but f(x) stays
        if (t->is("(") && t + 2 < span.last && t[2].is(")") && solid(t[1]) &&
            !(before && (solid(*before) || before->is(")") || before->is("'")))) {
            text += t[1].text, before = t + 1, t += 2;
            continue;
        }
        if (before && solid(*before) && solid(*t)) {
            const bool letters = before->kind == Token::Kind::word &&
                                 t->kind == Token::Kind::word && before->text.size() == 1 &&
                                 t->text.size() == 1 && !t->prose;
            const bool factor =
                before->kind == Token::Kind::number && t->kind != Token::Kind::number;
            const bool index = before->kind == Token::Kind::word && t->kind == Token::Kind::number;
            if (!letters && !factor && !index) text += ' ';
        }
        text += t->text, before = t;
    }
    return text;
}

// Spans between the separators at depth 0.
template <class F> std::vector<Span> split(Span span, const F& separates) {
    std::vector<Span> parts;
    int depth = 0;
    const Token* begin = span.first;
    for (const Token* t = span.first; t < span.last; ++t) {
        depth += is_open(*t) - is_close(*t);
        if (depth == 0 && separates(*t)) parts.push_back({begin, t}), begin = t + 1;
    }
    parts.push_back({begin, span.last});
    return parts;
}

// The bracket that closes the first token is the last one.
bool is_enclosed(Span span) {
    if (span.size() < 2 || !is_open(span[0])) return false;
    int depth = 0;
    for (const Token* t = span.first; t < span.last; ++t) {
        depth += is_open(*t) - is_close(*t);
        if (depth == 0) return t + 1 == span.last;
    }
    return false;
}

// ---- numbers ------------------------------------------------------------------------------------

const std::set<std::string> single_units = {"m", "g", "s",
                                            "L"}; // beside a number; in \text also these:
const std::set<std::string> text_units = {"h", "J", "N", "W", "V", "K", "C", "F", "l"};
const std::set<std::string> unit_symbols = {
    "mm",  "cm",  "dm",  "km",  "nm",  "mg",  "kg",  "lb", "lbs", "oz", "ft",  "in",  "yd",
    "mi",  "hr",  "hrs", "ms",  "ns",  "ml",  "mL",  "cl", "cc",  "Hz", "kHz", "MHz", "kW",
    "kJ",  "MJ",  "Pa",  "kPa", "eV",  "mph", "kph", "kB", "MB",  "GB", "TB",  "USD", "EUR",
    "min", "sec", "sq",  "cu",  "rad", "deg", "st",  "nd", "rd",  "th"};

// What may stand behind a number: words, with powers, and "/", "*", "-" or "." between them.
bool is_unit(Span span) {
    for (const Token* t = span.first; t < span.last; ++t) {
        const bool first = t == span.first;
        const bool joined = !first && (t[-1].is("/") || t[-1].is("*") || t[-1].is("-"));
        if (t->kind == Token::Kind::word) {
            const std::string& word = t->text;
            if (functions.count(lower(word)) || word == "i") return false;
            if (unit_symbols.count(word) || word == "degree") continue;
            if (word.size() == 1) {
                const bool apart =
                    t->prose || joined || (!first && t[-1].text == "degree"); // from the number
                const bool unit = (single_units.count(word) && (apart || t->spaced)) ||
                                  (text_units.count(word) && apart);
                if (!unit && !(word == "a" && !first)) return false;
                continue;
            }
            const bool capitals =
                std::all_of(word.begin(), word.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
            const bool is_word = t->spaced || joined ? word.size() >= 3 : word.size() >= 5;
            if (!t->prose && (!is_word || capitals)) return false;
        } else if (t->is("^")) {
            if (first || t[-1].kind != Token::Kind::word || t + 1 == span.last) return false;
            const Token* exponent = t + 1;
            if (exponent->is("(") && exponent + 3 < span.last && exponent[1].is("-")) {
                if (exponent[2].kind != Token::Kind::number || !exponent[3].is(")")) return false;
                t += 4;
            } else {
                if (exponent->kind != Token::Kind::number) return false;
                t += 1;
            }
        } else if (t->is("/") || t->is("*") || t->is("-")) {
            if (first || t + 1 == span.last || t[1].kind != Token::Kind::word) return false;
        } else if (!(t->is(".") || t->is("'")) || first) {
            return false;
        }
    }
    return true;
}

// The abbreviations of a unit in one spelling, "" where there are words: "cm^2", "m/s", but not "apples".
std::string abbreviation(Span span) {
    static const std::map<std::string, std::string> same = {
        {"hrs", "h"}, {"hr", "h"},    {"lbs", "lb"}, {"sec", "s"}, {"mL", "ml"}, {"l", "L"},
        {"deg", ""},  {"degree", ""}, {"st", ""},    {"nd", ""},   {"rd", ""},   {"th", ""}};
    std::string text;
    for (const Token& t : span) {
        if (t.kind != Token::Kind::word) {
            text += t.is("*") || t.is(".") ? "" : t.text;
            continue;
        }
        if (t.text != "degree" && t.text.size() > 1 && !unit_symbols.count(t.text)) return "";
        auto other = same.find(t.text);
        text += (text.empty() || span.size() == 1 ? "" : " ") +
                (other == same.end() ? t.text : other->second);
    }
    return text;
}

struct Arithmetic {
    const Token *at, *end;
    int level = 0;

    bool is(const char* sign) const { return at < end && at->is(sign); }
    bool is_number(const Token* t) const { return t < end && t->kind == Token::Kind::number; }
    static bool is_whole(const Token& t) {
        return t.text.find_first_not_of("0123456789") == std::string::npos;
    }

    std::optional<Number> atom() {
        if (is_number(at)) return (at++)->number;
        if (!is("(") || level >= deepest) return std::nullopt;
        ++at, ++level;
        std::optional<Number> inside = signed_product();
        --level;
        if (!inside || !is(")")) return std::nullopt;
        ++at;
        return inside;
    }
    std::optional<Number> power() {
        std::optional<Number> base = atom();
        if (!base || !is("^")) return base;
        ++at;
        std::optional<Number> exponent = atom();
        return exponent ? ::power(*base, *exponent) : std::nullopt;
    }
    // 1 1/2
    bool is_mixed() const {
        return is_number(at) && is_number(at + 1) && is_number(at + 3) && at[2].is("/") &&
               is_whole(at[0]) && is_whole(at[1]) && is_whole(at[3]) && at[1].spaced &&
               !(at + 4 < end && at[4].is("/")) && !is_zero(at[3].number);
    }
    // 1.5 x 10^3
    bool is_cross() const {
        return at < end && at->kind == Token::Kind::word && (at->text == "x" || at->text == "X") &&
               is_number(at + 1) && at[1].text == "10" && at + 2 < end && at[2].is("^");
    }
    std::optional<Number> signed_product() {
        const bool negative = is("-");
        if (is("-") || is("+")) ++at;
        std::optional<Number> value;
        if (is_mixed()) {
            std::optional<Number> part = quotient(at[1].number, at[3].number);
            const std::string &above = at[1].text, &below = at[3].text;
            if (above.size() > below.size() || (above.size() == below.size() && above >= below))
                return std::nullopt;
            value = mixed_number(at->number, *part);
            at += 4;
        } else {
            value = power();
        }
        int slashes = 0;
        while (value && at < end) {
            const bool times = is("*") || is_cross(), by = is("/");
            if (!times && !by) break;
            ++at;
            if (by && ++slashes > 1) return std::nullopt; // a date
            const bool inverted = by && is("-");
            if (inverted) ++at;
            std::optional<Number> factor = power();
            if (!factor) return std::nullopt;
            if (inverted) factor->negative = !factor->negative;
            value = times ? product(*value, *factor) : quotient(*value, *factor);
        }
        if (value && negative && !is_zero(*value)) value->negative = !value->negative;
        return value;
    }
};

std::optional<Number> read_number(Span span, std::string& unit) {
    static const std::set<std::string> currencies = {"usd", "us", "eur", "gbp", "rs", "inr", "rm"};
    while (span.size() &&
           ((span[0].kind == Token::Kind::word && currencies.count(lower(span[0].text))) ||
            (span[0].is(".") && span.size() > 1)))
        ++span.first;
    Arithmetic reader{span.first, span.last};
    std::optional<Number> value = reader.signed_product();
    if (!value) return std::nullopt;
    if (reader.is("%")) {
        ++reader.at;
        value->percent = true, value->denominator += "00";
    }
    const Span rest{reader.at, span.last};
    if (!is_unit(rest)) return std::nullopt;
    unit = abbreviation(rest);
    return value;
}

// ---- values -------------------------------------------------------------------------------------

bool is_relation(const Token& t) {
    if (t.kind != Token::Kind::sign) return false;
    for (const char* sign : {"<", ">", "<=", ">=", "!=", "~", "==", "->", "not"})
        if (t.text == sign) return true;
    return false;
}

// x, x_1, f(x), \theta, "the area", (x, y): what a value may be the value of.
bool is_name(Span span) {
    if (!span.size()) return false;
    const Span inside = is_enclosed(span) ? Span{span.first + 1, span.last - 1} : span;
    bool letters = false, callable = false;
    for (const Token* t = inside.first; t < inside.last; ++t) {
        if (t->kind == Token::Kind::word || t->kind == Token::Kind::symbol) {
            if (functions.count(lower(t->text)) || t->text == "infty") return false;
            letters = callable = true;
        } else if (t->is("_") && callable && t + 1 < inside.last) {
            ++t;
            if (t->is("("))
                while (t + 1 < inside.last && !t->is(")")) ++t;
        } else if (t->is("(") && callable) { // the arguments of a function
            for (++t; t < inside.last && !t->is(")"); ++t)
                if (t->kind == Token::Kind::sign && !t->is(",") && !t->is("-")) return false;
            if (t == inside.last) return false;
            callable = false;
        } else if (t->is(",") ? inside.first == span.first : !(t->is("'") || t->is(":"))) {
            return false;
        }
    }
    return letters;
}

bool is_arithmetic(Span span) {
    bool number = false;
    for (const Token& t : span) {
        if (t.kind == Token::Kind::word || t.kind == Token::Kind::symbol || is_relation(t))
            return false;
        number = number || t.kind == Token::Kind::number;
    }
    return number;
}

// The letter of (B), "(B) 12", "B. 12", "B: 12", "B) 12", B.
char choice_of(Span span) {
    auto letter = [&](size_t i) {
        return span.size() > i && span[i].kind == Token::Kind::word && is_capital(span[i].text) &&
                       span[i].text[0] <= 'J'
                   ? span[i].text[0]
                   : '\0';
    };
    if (span.size() >= 3 && span[0].is("(") && span[2].is(")")) {
        const bool goes_on = span.size() > 3 && span[3].kind == Token::Kind::sign &&
                             !is_open(span[3]) && !span[3].is("-");
        return goes_on ? '\0' : letter(1);
    }
    if (span.size() == 1) return letter(0);
    return span.size() > 1 && (span[1].is(")") || span[1].is(".") || span[1].is(":")) ? letter(0)
                                                                                      : '\0';
}

Value read(Span span, int level);

Value text_value(Span span) {
    Value value;
    // a unit behind a formula: 2\sqrt{3}\text{ cm}
    const Token* unit = span.last;
    while (unit > span.first + 1 && unit[-1].kind == Token::Kind::word &&
           (unit[-1].prose || (unit_symbols.count(unit[-1].text) && unit[-1].spaced)))
        --unit;
    bool formula = false, words = true; // a symbol or a number before it; words alone
    for (const Token* t = span.first; t < span.last; ++t) {
        words = words && t->kind == Token::Kind::word;
        if (t >= unit) continue;
        formula = formula || t->kind == Token::Kind::number || t->kind == Token::Kind::symbol;
        if (t->prose && t->kind == Token::Kind::word) unit = span.last; // 6 feet 2 inches
    }
    const bool ends = unit < span.last && unit > span.first &&
                      (unit[-1].kind != Token::Kind::sign || is_close(unit[-1]));
    if (formula && ends && is_unit({unit, span.last})) span.last = unit;
    value.text = spelling(span);
    // Monday and monday; but A is not a, nor AB ab
    for (size_t k = 0; words && k + 1 < value.text.size(); ++k) {
        const bool first = k == 0 || value.text[k - 1] == ' ';
        const bool rest = value.text[k + 1] >= 'a' && value.text[k + 1] <= 'z';
        if (first && rest) value.text[k] = lower(value.text.substr(k, 1))[0];
    }
    return value;
}

// Parts between commas, semicolons, "and", "or"; nothing if one is empty.
std::optional<std::vector<Value>> read_parts(Span span, int level) {
    std::vector<Value> parts;
    auto conjunction = [](const Token& t) {
        return t.kind == Token::Kind::word && (t.text == "and" || t.text == "or");
    };
    for (Span part :
         split(span, [&](const Token& t) { return t.is(",") || t.is(";") || conjunction(t); })) {
        const bool oxford = !part.size() && part.last < span.last && conjunction(*part.last) &&
                            part.first > span.first;
        if (oxford) continue; // "1, 2, and 3"
        if (!part.size()) return std::nullopt;
        parts.push_back(read(part, level + 1));
    }
    return parts;
}

Value read(Span span, int level) {
    while (span.size() && span.back().is(".")) --span.last;
    Value value;
    if (!span.size()) return value;
    if (level > deepest) return text_value(span);
    const char choice = choice_of(span);

    std::optional<std::vector<Value>> parts = read_parts(span, level);
    if (!parts) return text_value(span);
    if (parts->size() > 1) {
        value.kind = Value::Kind::list, value.brackets = "{}", value.parts = std::move(*parts);
        return value;
    }
    if (split(span, is_relation).size() > 1) return text_value(span);

    const std::vector<Span> sides =
        split(span, [](const Token& t) { return t.is("=") || t.is("in"); });
    if (sides.size() > 1) {
        const Span &left = sides[0], &right = sides.back();
        if (sides.size() == 2 && !is_name(left) && is_name(right) && left.size()) { // 5 = x
            value = read(left, level + 1);
            value.name = spelling(right);
            return value;
        }
        for (size_t i = 0; i + 1 < sides.size(); ++i)
            if (!is_name(sides[i]) && !is_arithmetic(sides[i])) return text_value(span);
        if (!right.size()) return text_value(span);
        value = read(right, level + 1);
        if (is_name(left)) value.name = spelling(left);
        if (value.kind == Value::Kind::text && sides.size() == 2 && is_arithmetic(right))
            if (Value first = read(left, level + 1); first.kind == Value::Kind::number)
                return first;
        return value;
    }

    if (is_enclosed(span)) {
        const Span inside{span.first + 1, span.last - 1};
        const std::string brackets = span[0].text + span.back().text;
        std::optional<std::vector<Value>> elements;
        if (inside.size()) elements = read_parts(inside, level);
        if (brackets == "()" && elements && elements->size() == 1) {
            value = read(inside, level + 1);
            if (choice) value.choice = choice;
            return value;
        }
        if (elements || (!inside.size() && brackets == "{}")) {
            value.kind = Value::Kind::list, value.brackets = brackets;
            if (elements) value.parts = std::move(*elements);
            return value;
        }
    }
    if (span.size() == 1 && span[0].kind == Token::Kind::symbol && span[0].text == "emptyset") {
        value.kind = Value::Kind::list, value.brackets = "{}";
        return value;
    }
    if (std::optional<Number> number = read_number(span, value.unit)) {
        value.kind = Value::Kind::number, value.number = *number;
        return value;
    }
    if (span[0].is("+-")) { // two numbers
        if (std::optional<Number> number = read_number({span.first + 1, span.last}, value.unit)) {
            value.kind = Value::Kind::list, value.brackets = "{}";
            for (bool negative : {false, true}) {
                Value& part = value.parts.emplace_back();
                part.kind = Value::Kind::number, part.number = *number;
                part.number.negative = negative && !is_zero(*number);
            }
            return value;
        }
    }
    value = text_value(span);
    value.choice = choice;
    return value;
}

bool same_number(const Number& a, const Number& b) {
    if (same_value(a, b)) return true;
    if (a.percent == b.percent) return false;
    Number unscaled = a.percent ? a : b;
    unscaled.denominator.resize(unscaled.denominator.size() - 2); // takes the division by 100 back
    return same_value(unscaled, a.percent ? b : a);
}

bool is_variable(const std::string& name) {
    return name.size() == 1 || name.find_first_of(" (,") == std::string::npos;
}

bool same_parts(const Value& a, const Value& b) {
    if (a.brackets != b.brackets || a.parts.size() != b.parts.size()) return false;
    if (a.brackets != "{}")
        return std::equal(a.parts.begin(), a.parts.end(), b.parts.begin(),
                          [](const Value& x, const Value& y) { return same_value(x, y); });
    std::vector<bool> taken(b.parts.size());
    for (const Value& part : a.parts) {
        size_t i = 0;
        while (i < b.parts.size() && (taken[i] || !same_value(part, b.parts[i]))) ++i;
        if (i == b.parts.size()) return false;
        taken[i] = true;
    }
    return true;
}

} // namespace

Value read_value(const std::string& text) {
    if (text.size() > longest_formula) {
        Value value;
        value.text = text;
        return value;
    }
    Tokens tokens;
    Scanner{text, false, 0, tokens}.run();
    return read({tokens.data(), tokens.data() + tokens.size()}, 0);
}

bool same_value(const Value& a, const Value& b) {
    if (!a.name.empty() && !b.name.empty() && is_variable(a.name) && is_variable(b.name) &&
        a.name != b.name)
        return false;
    auto alone = [](const Value& v) {
        return v.kind == Value::Kind::text && is_capital(v.text) && v.choice;
    };
    if (a.choice && a.choice == b.choice && (alone(a) || alone(b))) return true;
    if (a.kind != b.kind) return false;
    if (a.kind == Value::Kind::number) {
        if (!a.unit.empty() && !b.unit.empty() && a.unit != b.unit) return false;
        return same_number(a.number, b.number);
    }
    if (a.kind == Value::Kind::list) return same_parts(a, b);
    return a.text == b.text;
}

std::string value_key(const Value& value) {
    if (value.kind == Value::Kind::number) return number_key(value.number);
    if (value.choice) return std::string(1, value.choice);
    if (value.kind == Value::Kind::text) return value.text;
    std::vector<std::string> parts;
    for (const Value& part : value.parts) parts.push_back(value_key(part));
    if (value.brackets == "{}") std::sort(parts.begin(), parts.end());
    const size_t half = value.brackets.size() / 2;
    std::string key = value.brackets.substr(0, half);
    for (size_t i = 0; i < parts.size(); ++i) key += (i ? ", " : "") + parts[i];
    return key + value.brackets.substr(half);
}
