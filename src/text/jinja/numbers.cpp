#include "text/jinja/filters.h"
#include "text/jinja/python_text.h"

#include <algorithm>
#include <cctype>
#include <cmath>

// Python's operators, and Jinja's filters of numbers.

namespace jinja {

namespace {

[[noreturn]] void too_large(Run& run) { run.fail("an integer beyond 64 bits is not supported"); }

Value integer_power(Run& run, int64_t base, int64_t exponent) {
    if (exponent < 0) {
        if (base == 0) run.fail("0 cannot be raised to a negative power");
        return Value::of(std::pow((double)base, (double)exponent));
    }
    int64_t result = 1;
    for (; exponent > 0; --exponent) {
        if (base == 0 || base == 1) return Value::of(base);
        if (base == -1) return Value::of(exponent % 2 ? -result : result);
        if (__builtin_mul_overflow(result, base, &result)) too_large(run);
    }
    return Value::of(result);
}

Value integers(Run& run, char sign, int64_t a, int64_t b) {
    int64_t result = 0;
    switch (sign) {
    case '+':
        if (__builtin_add_overflow(a, b, &result)) too_large(run);
        return Value::of(result);
    case '-':
        if (__builtin_sub_overflow(a, b, &result)) too_large(run);
        return Value::of(result);
    case '*':
        if (__builtin_mul_overflow(a, b, &result)) too_large(run);
        return Value::of(result);
    case '^':
        return integer_power(run, a, b);
    default:
        break;
    }
    if (b == 0) run.fail(sign == '/' ? "division by zero" : "integer division or modulo by zero");
    if (sign == '/') return Value::of((double)a / (double)b);
    if (b == -1) return sign == '%' ? Value::of(0) : integers(run, '-', 0, a);
    int64_t quotient = a / b, rest = a % b;
    if (rest != 0 && (rest < 0) != (b < 0)) {
        --quotient;
        rest += b;
    }
    return Value::of(sign == '%' ? rest : quotient);
}

Value reals(Run& run, char sign, double a, double b) {
    switch (sign) {
    case '+':
        return Value::of(a + b);
    case '-':
        return Value::of(a - b);
    case '*':
        return Value::of(a * b);
    case '^': {
        if (a == 0 && b < 0) run.fail("0.0 cannot be raised to a negative power");
        if (a < 0 && std::floor(b) != b) run.not_supported("a complex number");
        double result = std::pow(a, b);
        if (std::isinf(result) && std::isfinite(a) && std::isfinite(b))
            run.fail("the result of ** is too large");
        return Value::of(result);
    }
    default:
        break;
    }
    if (b == 0)
        run.fail(sign == '/' ? "float division by zero" : "float floor division or modulo by zero");
    if (sign == '/') return Value::of(a / b);
    // As CPython's float_divmod
    double rest = std::fmod(a, b), quotient = (a - rest) / b;
    if (rest != 0) {
        if ((b < 0) != (rest < 0)) {
            rest += b;
            quotient -= 1;
        }
    } else {
        rest = std::copysign(0.0, b);
    }
    double whole = quotient != 0 ? std::floor(quotient) : std::copysign(0.0, a / b);
    if (quotient - whole > 0.5) whole += 1;
    return Value::of(sign == '%' ? rest : whole);
}

Value joined(Run& run, const Value& a, const Value& b) {
    if (!a.markup && !b.markup) return run.string(a.string() + b.string());
    return run.string(str_escaped(run, a) + str_escaped(run, b), true);
}

Value repeated(Run& run, const Value& value, int64_t count) {
    count = std::max<int64_t>(count, 0);
    int64_t size =
        value.is_string() ? (int64_t)value.string().size() : (int64_t)value.list().size();
    int64_t total = 0;
    if (__builtin_mul_overflow(size, count, &total)) total = INT64_MAX / 2;
    run.charge(total);
    if (total == 0) count = 0;
    if (value.is_string()) {
        std::string text;
        run.check_size((size_t)total);
        for (int64_t i = 0; i < count; ++i) text += value.string();
        return run.string(std::move(text), value.markup);
    }
    List list;
    for (int64_t i = 0; i < count; ++i)
        list.insert(list.end(), value.list().begin(), value.list().end());
    return Value::of(std::move(list), value.kind);
}

} // namespace

Value arithmetic(Run& run, const std::string& sign, const Value& left, const Value& right) {
    bool formats = sign == "%" && left.is_string();
    if (left.is_undefined()) run.fail("%s", left.undefined_message().c_str());
    if (formats) {
        if (left.markup) run.not_supported("% on text marked as safe");
        return run.string(percent_format(run, left.string(), right));
    }
    if (right.is_undefined()) run.fail("%s", right.undefined_message().c_str());
    if (left.is_number() && right.is_number()) {
        // "//" is '|' and "**" is '^' below
        char code = sign == "//" ? '|' : sign == "**" ? '^' : sign[0];
        if (left.is_integer() && right.is_integer())
            return integers(run, code, left.as_integer(), right.as_integer());
        return reals(run, code, left.as_real(), right.as_real());
    }
    if (sign == "+" && left.is_string() && right.is_string()) return joined(run, left, right);
    if (sign == "+" && left.is_sequence() && left.kind == right.kind) {
        List list = left.list();
        list.insert(list.end(), right.list().begin(), right.list().end());
        run.charge((int64_t)list.size());
        return Value::of(std::move(list), left.kind);
    }
    if (sign == "*" && right.is_integer() && (left.is_string() || left.is_sequence()))
        return repeated(run, left, right.as_integer());
    if (sign == "*" && left.is_integer() && (right.is_string() || right.is_sequence()))
        return repeated(run, right, left.as_integer());
    if (sign == "+" && left.is_string())
        run.fail("can only concatenate str (not \"%s\") to str", type_name(right));
    run.fail("unsupported operand type(s) for %s: '%s' and '%s'", sign.c_str(), type_name(left),
             type_name(right));
}

Value negate(Run& run, const Value& value) {
    if (value.is_undefined()) run.fail("%s", value.undefined_message().c_str());
    if (value.is(Kind::real)) return Value::of(-value.real);
    if (!value.is_integer()) run.fail("bad operand type for unary -: '%s'", type_name(value));
    return integers(run, '-', 0, value.as_integer());
}

// ---- filters -------------------------------------------------------------------------------------------

namespace {

// float(text): digits with single underscores, a point, an exponent; inf, nan.
bool parse_real(std::string_view given, double& number) {
    std::string text(python::strip(given)), plain;
    for (size_t i = 0; i < text.size(); ++i) {
        bool between = i > 0 && i + 1 < text.size() && std::isdigit((unsigned char)text[i - 1]) &&
                       std::isdigit((unsigned char)text[i + 1]);
        if (text[i] == '_' && between) continue;
        plain += (char)std::tolower((unsigned char)text[i]);
    }
    size_t begin = !plain.empty() && (plain[0] == '-' || plain[0] == '+');
    std::string size = plain.substr(begin);
    bool named = size == "inf" || size == "infinity" || size == "nan";
    if (!named && (size.empty() || size.find_first_not_of("0123456789.e+-") != std::string::npos))
        return false;
    char* end = nullptr;
    number = std::strtod(plain.c_str(), &end);
    return end == plain.c_str() + plain.size();
}

// int(text, base): 0 ok, 1 not a number, 2 beyond 64 bits.
int parse_integer(std::string_view given, int64_t base, int64_t& number) {
    std::string text = python::lower(python::strip(given));
    size_t at = 0;
    bool negative = false;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) negative = text[at++] == '-';
    if (at + 1 < text.size() && text[at] == '0') {
        int64_t own = text[at + 1] == 'x'   ? 16
                      : text[at + 1] == 'o' ? 8
                      : text[at + 1] == 'b' ? 2
                                            : 0;
        if (own && (base == own || base == 0)) {
            base = own;
            at += 2;
            if (at < text.size() && text[at] == '_') ++at;
        }
    }
    if (base == 0) base = 10;
    bool any = false, overflow = false;
    int64_t value = 0;
    for (; at < text.size(); ++at) {
        char c = text[at];
        if (c == '_' && any && at + 1 < text.size() && text[at - 1] != '_') continue;
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
        if (digit >= base) return 1;
        any = true;
        overflow |= __builtin_mul_overflow(value, base, &value) ||
                    __builtin_add_overflow(value, (int64_t)digit, &value);
    }
    if (!any) return 1;
    number = negative ? -value : value;
    return overflow ? 2 : 0;
}

bool truncated(Run& run, double value, int64_t& number) {
    if (!std::isfinite(value)) return false;
    if (std::fabs(value) >= 9.2e18) run.fail("an integer beyond 64 bits is not supported");
    number = (int64_t)value;
    return true;
}

Value to_integer(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "int", arguments, {"default", "base"}, 0);
    Value missing = bound.given[0] ? bound[0] : Value::of(0);
    if (value.is_undefined()) run.fail("%s", value.undefined_message().c_str());
    if (value.is_integer()) return Value::of(value.as_integer());
    int64_t number = 0;
    double real = 0;
    if (value.is(Kind::real)) {
        if (std::isinf(value.real)) run.fail("cannot convert float infinity to integer");
        return truncated(run, value.real, number) ? Value::of(number) : missing;
    }
    if (!value.is_string()) return missing;
    int64_t base = bound.integer_or(1, 10);
    if (base != 0 && (base < 2 || base > 36)) return missing;
    int problem = parse_integer(value.string(), base, number);
    if (problem == 2) run.fail("an integer beyond 64 bits is not supported");
    if (problem == 0) return Value::of(number);
    bool parsed = parse_real(value.string(), real) && truncated(run, real, number);
    return parsed ? Value::of(number) : missing;
}

Value to_real(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "float", arguments, {"default"}, 0);
    if (value.is_undefined()) run.fail("%s", value.undefined_message().c_str());
    if (value.is_number()) return Value::of(value.as_real());
    double number = 0;
    if (value.is_string() && parse_real(value.string(), number)) return Value::of(number);
    return bound.given[0] ? bound[0] : Value::of(0.0);
}

Value absolute(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "abs", arguments, {}, 0);
    if (value.is_undefined()) run.fail("%s", value.undefined_message().c_str());
    if (!value.is_number()) run.fail("bad operand type for abs(): '%s'", type_name(value));
    if (value.is(Kind::real)) return Value::of(std::fabs(value.real));
    return value.as_integer() < 0 ? negate(run, value) : Value::of(value.as_integer());
}

// Python's round(): half to even, of the exact binary value.
double rounded(double value, int64_t digits) {
    if (!std::isfinite(value) || digits > 300) return value;
    if (digits >= 0) {
        char text[700];
        std::snprintf(text, sizeof text, "%.*f", (int)digits, value);
        return std::strtod(text, nullptr);
    }
    double scale = std::pow(10.0, (double)-digits);
    return std::isfinite(scale) ? std::nearbyint(value / scale) * scale : 0.0;
}

Value round(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "round", arguments, {"precision", "method"}, 0);
    int64_t digits = bound.integer_or(0, 0);
    std::string method = bound.text_or(1, "common");
    if (method != "common" && method != "ceil" && method != "floor")
        run.fail("method must be common, ceil or floor");
    if (value.is_undefined()) run.fail("%s", value.undefined_message().c_str());
    if (!value.is_number()) run.fail("type %s doesn't define __round__ method", type_name(value));
    if (method == "common") {
        if (value.is(Kind::real)) return Value::of(rounded(value.real, digits));
        if (digits < 0) run.not_supported("|round of an integer to tens");
        return Value::of(value.as_integer());
    }
    double scale = std::pow(10.0, (double)digits), scaled = value.as_real() * scale;
    return Value::of((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

} // namespace

const Filters& number_filters() {
    static const Filters table = {
        {"abs", absolute},
        {"float", to_real},
        {"int", to_integer},
        {"round", round},
    };
    return table;
}

} // namespace jinja
