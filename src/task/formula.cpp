#include "task/formula.h"

#include "task/formula_tokens.h"

#include <algorithm>
#include <map>
#include <set>

namespace {

constexpr size_t longest_formula = 4000; // bytes; beyond, a text as it stands

bool is_capital(const std::string& word) {
    return word.size() == 1 && word[0] >= 'A' && word[0] <= 'Z';
}

std::string lower(std::string word) {
    for (char& c : word)
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
    return word;
}

const std::set<std::string> functions = {
    "sin",      "cos",   "tan",  "cot",   "csc",   "arcsin", "arccos",    "arctan",  "sinh",
    "cosh",     "tanh",  "log",  "ln",    "lg",    "exp",    "sqrt",      "root",    "max",
    "gcd",      "lcm",   "lim",  "det",   "mod",   "sup",    "inf",       "sum",     "int",
    "prod",     "not",   "no",   "abs",   "floor", "ceil",   "factorial", "squared", "cubed",
    "negative", "minus", "plus", "times", "am",    "pm"};

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

// The abbreviations of a unit in one spelling, "" where there are words: "cm^2", "m/s", but not
// "apples".
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
        if (!is("(") || level >= deepest_formula) return std::nullopt;
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
    if (level > deepest_formula) return text_value(span);
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
    const Tokens tokens = formula_tokens(text);
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
