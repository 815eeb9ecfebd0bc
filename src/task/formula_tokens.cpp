#include "task/formula_tokens.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '~'; }
bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

// LaTeX commands by what they mean here. "": nothing, " ": a space, else a sign or, behind '@', a
// symbol.
const std::map<std::string, std::string>& commands() {
    static const std::map<std::string, std::string> table = {
        // clang-format off
        {"left", ""}, {"right", ""}, {"big", ""}, {"Big", ""}, {"bigg", ""}, {"Bigg", ""},
        {"bigl", ""}, {"bigr", ""}, {"Bigl", ""}, {"Bigr", ""}, {"displaystyle", ""},
        {"textstyle", ""}, {"limits", ""}, {"mathbf", ""}, {"mathit", ""}, {"mathsf", ""},
        {"mathbb", ""}, {"mathcal", ""}, {"boldsymbol", ""}, {"bm", ""}, {"boxed", ""},
        {"fbox", ""}, {"bf", ""}, {"rm", ""}, {"it", ""}, {"mathop", ""}, {",", ""}, {"!", ""},
        {";", " "}, {":", " "}, {" ", " "}, {"quad", " "}, {"qquad", " "}, {"\\", " "}, {"(", " "},
        {")", " "}, {"[", " "}, {"]", " "}, {"$", ""}, {"dollar", ""}, {"%", "%"}, {"{", "{"},
        {"}", "}"}, {"lbrace", "{"}, {"rbrace", "}"}, {"langle", "<<"}, {"rangle", ">>"},
        {"|", "|"}, {"vert", "|"}, {"lvert", "|"}, {"rvert", "|"}, {"mid", "|"}, {"le", "<="},
        {"leq", "<="}, {"leqslant", "<="}, {"ge", ">="}, {"geq", ">="}, {"geqslant", ">="},
        {"lt", "<"}, {"gt", ">"}, {"ne", "!="}, {"neq", "!="}, {"approx", "~"}, {"equiv", "=="},
        {"in", "in"}, {"to", "->"}, {"rightarrow", "->"}, {"cup", "cup"}, {"cap", "cap"},
        {"times", "*"}, {"cdot", "*"}, {"ast", "*"}, {"div", "/"}, {"pm", "+-"}, {"mp", "-+"},
        {"ldots", "..."}, {"dots", "..."}, {"cdots", "..."}, {"prime", "'"}, {"colon", ":"},
        {"emptyset", "@emptyset"}, {"varnothing", "@emptyset"}, {"circ", "@degree"},
        {"degree", "@degree"}, {"lnot", "not"}, {"neg", "not"},
        // clang-format on
    };
    return table;
}

const std::vector<std::pair<std::string, std::string>>& characters() { // UTF-8, as commands
    static const std::vector<std::pair<std::string, std::string>> table = {
        // clang-format off
        {"−", "-"}, {"–", "-"}, {"—", "-"}, {"×", "*"}, {"·", "*"}, {"⋅", "*"}, {"∙", "*"},
        {"∗", "*"}, {"÷", "/"}, {"∕", "/"}, {"⁄", "/"}, {"≤", "<="}, {"≥", ">="}, {"⩽", "<="},
        {"⩾", ">="}, {"≠", "!="}, {"≈", "~"}, {"≡", "=="}, {"∈", "in"}, {"→", "->"}, {"∪", "cup"},
        {"∩", "cap"}, {"±", "+-"}, {"∓", "-+"}, {"…", "..."}, {"⟨", "<<"}, {"⟩", ">>"},
        {"√", "@sqrt"}, {"π", "@pi"}, {"θ", "@theta"}, {"α", "@alpha"}, {"β", "@beta"},
        {"γ", "@gamma"}, {"λ", "@lambda"}, {"μ", "@mu"}, {"φ", "@phi"}, {"ω", "@omega"},
        {"σ", "@sigma"}, {"∞", "@infty"}, {"∅", "@emptyset"}, {"°", "@degree"}, {"€", ""},
        {"£", ""}, {"¥", ""}, {"₹", ""}, {"¬", "not"}, {"′", "'"}, {"\u00a0", " "},
        {"\u2009", " "}, {"\u202f", " "}, {"\u200b", ""}, {"（", "("}, {"）", ")"}, {"，", ","},
        {"：", ":"}, {"＝", "="},
        // clang-format on
    };
    return table;
}

const char* const superscripts[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};

const std::set<std::string> text_commands = {
    "text", "textbf",       "textit", "textrm", "textsf", "mathrm",    "mbox",
    "hbox", "operatorname", "emph",   "textup", "texttt", "textnormal"};
const std::set<std::string> fractions = {"frac", "dfrac", "tfrac", "cfrac"};

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
        if (level < deepest_formula) Scanner{text, as_prose, level + 1, tokens}.run();
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
        } else if (text == "percent" || text == "Percent") {
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

} // namespace

Tokens formula_tokens(const std::string& text) {
    Tokens tokens;
    Scanner{text, false, 0, tokens}.run();
    return tokens;
}
