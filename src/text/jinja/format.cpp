#include "text/jinja/python_text.h"
#include "text/jinja/run.h"

#include <cmath>

// Python's two ways to format: "%5.2f" % value, and "{:>8}".format(value).

namespace jinja {

namespace {

// [[fill]align][sign][#][0][width][grouping][.precision][type], of both ways.
struct Spec {
    std::string fill = " ";
    char align = 0, sign = 0, grouping = 0, type = 0;
    bool alternate = false, zero = false;
    int64_t width = 0, precision = -1;
};

std::string grouped(const std::string& digits, char separator, size_t every) {
    if (!separator) return digits;
    std::string out;
    for (size_t i = 0; i < digits.size(); ++i) {
        if (i > 0 && (digits.size() - i) % every == 0) out += separator;
        out += digits[i];
    }
    return out;
}

std::string aligned(Run& run, const Spec& spec, const std::string& sign, const std::string& body,
                    char natural) {
    int64_t missing = spec.width - python::length(sign) - python::length(body);
    if (missing <= 0) return sign + body;
    run.charge(missing);
    run.check_size((size_t)missing * spec.fill.size());
    char align = spec.align ? spec.align : natural;
    int64_t left = align == '>' || align == '=' ? missing : align == '^' ? missing / 2 : 0;
    std::string before, behind;
    for (int64_t i = 0; i < left; ++i) before += spec.fill;
    for (int64_t i = left; i < missing; ++i) behind += spec.fill;
    return align == '=' ? sign + before + body + behind : before + sign + body + behind;
}

std::string sign_of(const Spec& spec, bool negative) {
    return negative ? "-" : spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
}

std::string format_integer(Run& run, Spec spec, int64_t value) {
    bool negative = value < 0;
    uint64_t rest = negative ? 0 - (uint64_t)value : (uint64_t)value;
    if (spec.type == 'c') {
        if (value < 0 || value > 0x10FFFF) run.fail("%%c arg not in range(0x110000)");
        std::string text;
        append_utf8(text, (int32_t)value);
        return aligned(run, spec, "", text, '<');
    }
    unsigned base = spec.type == 'x' || spec.type == 'X' ? 16
                    : spec.type == 'o'                   ? 8
                    : spec.type == 'b'                   ? 2
                                                         : 10;
    std::string digits;
    do digits.insert(digits.begin(), "0123456789abcdef"[rest % base]);
    while (rest /= base);
    run.check_size((size_t)std::max<int64_t>(spec.precision, 0));
    while ((int64_t)digits.size() < spec.precision) digits.insert(digits.begin(), '0');
    std::string prefix =
        spec.alternate && base != 10 ? std::string("0") + (spec.type == 'X' ? 'x' : spec.type) : "";
    digits = grouped(digits, spec.grouping, base == 10 ? 3 : 4);
    if (spec.type == 'X') {
        digits = python::upper(digits);
        prefix = python::upper(prefix);
    }
    std::string sign = sign_of(spec, negative) + prefix;
    if (spec.zero && !spec.align) {
        if (spec.grouping) run.not_supported("a width with zeros and a grouping in a format");
        spec.fill = "0";
        spec.align = '=';
    }
    return aligned(run, spec, sign, digits, '>');
}

std::string format_real(Run& run, Spec spec, double value) {
    char type = spec.type;
    bool percent = type == '%';
    if (percent) value *= 100;
    if (spec.precision > 1000) run.fail("a precision of more than 1000 in a format");
    bool negative = std::signbit(value) && !std::isnan(value);
    double size = std::fabs(value);
    std::string digits;
    if (!std::isfinite(value)) {
        digits = std::isnan(value) ? "nan" : "inf";
    } else if (!type && spec.precision < 0) {
        digits = real_text(size);
    } else {
        char form = percent || type == 'F' ? 'f' : type ? type : 'g';
        if (form == 'n') form = 'g';
        int precision = spec.precision < 0 ? 6 : (int)spec.precision;
        std::string pattern = std::string("%") + (spec.alternate ? "#" : "") + ".*" + form;
        char buffer[1500];
        int length = std::snprintf(buffer, sizeof buffer, pattern.c_str(), precision, size);
        digits.assign(buffer, (size_t)length);
        if (!type) { // Python's form without a type: general, with at least one digit behind the point
            if (digits.find_first_of(".e") == std::string::npos) digits += ".0";
        }
    }
    if (type == 'E' || type == 'G' || type == 'F') digits = python::upper(digits);
    size_t whole = digits.find_first_not_of("0123456789");
    if (whole == std::string::npos) whole = digits.size();
    digits = grouped(digits.substr(0, whole), spec.grouping, 3) + digits.substr(whole);
    if (percent) digits += "%";
    if (spec.zero && !spec.align) {
        if (spec.grouping) run.not_supported("a width with zeros and a grouping in a format");
        spec.fill = "0";
        spec.align = '=';
    }
    return aligned(run, spec, sign_of(spec, negative), digits, '>');
}

std::string format_text(Run& run, const Spec& spec, const std::string& text) {
    std::string cut =
        spec.precision < 0 ? text : text.substr(0, python::position(text, spec.precision));
    return aligned(run, spec, "", cut, '<');
}

int64_t read_number(Run& run, const std::string& text, size_t& at) {
    int64_t number = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
        number = number * 10 + (text[at] - '0');
        if (number > (1 << 30)) run.fail("a width or precision in a format is too large");
    }
    return number;
}

// int(x) of a number in a % format
int64_t whole(Run& run, const Value& value, char type) {
    if (value.is_integer()) return value.as_integer();
    bool fits = value.is(Kind::real) && std::fabs(value.real) < 9e18 && type != 'x' &&
                type != 'X' && type != 'o';
    if (!fits) run.fail("%%%c format: a number is required, not %s", type, type_name(value));
    return (int64_t)value.real;
}

// A value by the letter of its conversion.
std::string converted(Run& run, Spec spec, const Value& value) {
    const char type = spec.type;
    if (type == 's' || type == 'r' || type == 'a') {
        if (type == 'a') run.not_supported("%a in a format");
        if (!spec.align) spec.align = '>';
        return format_text(run, spec, type == 's' ? str(run, value) : repr(run, value));
    }
    if (type == 'c') {
        if (!spec.align) spec.align = '>';
        if (value.is_string() && python::length(value.string()) == 1)
            return format_text(run, spec, value.string());
        return format_integer(run, spec, whole(run, value, type));
    }
    if (type == 'd' || type == 'i' || type == 'u' || type == 'x' || type == 'X' || type == 'o') {
        if (value.is_undefined()) run.fail("%s", value.undefined_message().c_str());
        return format_integer(run, spec, whole(run, value, type));
    }
    if (std::string("fFeEgG").find(type) != std::string::npos) {
        if (value.is_undefined()) run.fail("%s", value.undefined_message().c_str());
        if (!value.is_number()) run.fail("must be real number, not %s", type_name(value));
        return format_real(run, spec, value.as_real());
    }
    run.fail("unsupported format character '%c'", type);
}

// The flags from `at` on; true: to the left.
bool read_flags(const std::string& format, size_t& at, Spec& spec) {
    bool left = false;
    for (; at < format.size() && std::string("-+ #0").find(format[at]) != std::string::npos; ++at) {
        if (format[at] == '-') left = true;
        if (format[at] == '+' || (format[at] == ' ' && !spec.sign)) spec.sign = format[at];
        if (format[at] == '#') spec.alternate = true;
        if (format[at] == '0') spec.zero = true;
    }
    return left;
}

// The argument of %(key); `at` goes behind it.
Value argument_of_key(Run& run, const std::string& format, size_t& at, const Value& arguments) {
    size_t end = format.find(')', at);
    if (end == std::string::npos) run.fail("incomplete format key");
    std::string key = format.substr(at + 1, end - at - 1);
    if (!arguments.is(Kind::dict)) run.fail("format requires a mapping");
    const Value* found = arguments.dict().find(std::string_view(key));
    if (!found) run.fail("KeyError: %s", repr(key).c_str());
    at = end + 1;
    return *found;
}

} // namespace

std::string percent_format(Run& run, const std::string& format, const Value& arguments) {
    std::string out;
    size_t used = 0;
    bool is_tuple = arguments.is(Kind::tuple), named = false;
    auto next = [&]() -> Value {
        size_t count = is_tuple ? arguments.list().size() : 1;
        if (used >= count) run.fail("not enough arguments for format string");
        ++used;
        return is_tuple ? arguments.list()[used - 1] : arguments;
    };
    for (size_t at = 0; at < format.size();) {
        run.charge(1);
        if (format[at] != '%') {
            out += format[at++];
            continue;
        }
        if (++at >= format.size()) run.fail("incomplete format");
        Value value;
        bool has_value = false;
        if (format[at] == '(') {
            value = argument_of_key(run, format, at, arguments);
            has_value = named = true;
        }
        Spec spec;
        bool left = read_flags(format, at, spec);
        auto number = [&] {
            if (at >= format.size() || format[at] != '*') return read_number(run, format, at);
            ++at;
            Value given = next();
            if (!given.is_integer()) run.fail("* wants int");
            int64_t star = given.as_integer();
            if (star > (1 << 30) || star < -(1 << 30)) run.fail("a width in a format is too large");
            return star;
        };
        spec.width = number();
        if (spec.width < 0) {
            left = true;
            spec.width = -spec.width;
        }
        if (at < format.size() && format[at] == '.') {
            ++at;
            spec.precision = std::max<int64_t>(number(), 0);
        }
        while (at < format.size() && (format[at] == 'h' || format[at] == 'l' || format[at] == 'L'))
            ++at;
        if (at >= format.size()) run.fail("incomplete format");
        char type = format[at++];
        if (type == '%') {
            out += '%';
            continue;
        }
        if (!has_value) value = next();
        if (left) spec.align = '<';
        if (left) spec.zero = false;
        spec.type = type;
        out += converted(run, spec, value);
        run.check_size(out.size());
    }
    bool all_used = !is_tuple ? used > 0 || named || arguments.is(Kind::dict) ||
                                    arguments.is(Kind::list) || arguments.is_undefined()
                              : used == arguments.list().size();
    if (!all_used && !named) run.fail("not all arguments converted during string formatting");
    return out;
}

// The value of one {} by its format specification.
static std::string format_value(Run& run, const Value& value, const std::string& text) {
    if (text.empty()) return str(run, value);
    Spec spec;
    size_t at = 0, second = 0;
    next_code_point(text, second);
    auto is_align = [&](size_t place) {
        return place < text.size() && std::string("<>=^").find(text[place]) != std::string::npos;
    };
    if (is_align(second)) {
        spec.fill = text.substr(0, second);
        spec.align = text[second];
        at = second + 1;
    } else if (is_align(0)) {
        spec.align = text[at++];
    }
    if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' '))
        spec.sign = text[at++];
    if (at < text.size() && text[at] == '#') spec.alternate = text[at++] == '#';
    if (at < text.size() && text[at] == '0') spec.zero = text[at++] == '0';
    spec.width = read_number(run, text, at);
    if (at < text.size() && (text[at] == ',' || text[at] == '_')) spec.grouping = text[at++];
    if (at < text.size() && text[at] == '.') {
        ++at;
        if (at >= text.size() || text[at] < '0' || text[at] > '9')
            run.fail("Format specifier missing precision");
        spec.precision = read_number(run, text, at);
    }
    if (at < text.size()) spec.type = text[at++];
    if (at != text.size()) run.fail("Invalid format specifier '%s'", text.c_str());
    auto of = [&](const char* types) {
        return !spec.type || std::string(types).find(spec.type) != std::string::npos;
    };
    bool boolean_text = value.is(Kind::boolean) && !spec.type;
    if (value.is_string() || boolean_text) {
        if (boolean_text && text.size() > 1) run.not_supported("a format of True or False");
        if (!of("s") || spec.sign || spec.grouping || spec.align == '=' || spec.alternate)
            run.fail("format '%s' does not fit a str", text.c_str());
        if (spec.zero && !spec.align) spec.fill = "0";
        return format_text(run, spec, str(run, value));
    }
    if (value.is_integer() && of("bcdoxXn")) {
        if (spec.precision >= 0) run.fail("Precision not allowed in integer format specifier");
        return format_integer(run, spec, value.as_integer());
    }
    if (value.is_number() && of("eEfFgGn%")) return format_real(run, spec, value.as_real());
    if (value.is_number())
        run.fail("Unknown format code '%c' for a %s", spec.type, type_name(value));
    run.fail("unsupported format string passed to %s.__format__", type_name(value));
}

namespace {

struct BraceFormat {
    Run& run;
    const Arguments& arguments;
    int64_t next = 0; // of the automatic numbers; -1: fields have numbers

    Value argument(const std::string& name) {
        bool digits = !name.empty() && name.find_first_not_of("0123456789") == std::string::npos;
        if (name.empty() || digits) {
            if (name.empty() ? next < 0 : next > 0)
                run.fail("a format with both automatic and given numbers");
            if (digits) next = -1;
            size_t at = 0;
            int64_t index = name.empty() ? next++ : read_number(run, name, at);
            if (index >= (int64_t)arguments.positional.size())
                run.fail("Replacement index %lld out of range for positional args tuple",
                         (long long)index);
            return arguments.positional[index];
        }
        for (auto& [key, value] : arguments.keywords)
            if (key == name) return value;
        run.fail("KeyError: %s", repr(name).c_str());
    }

    // name.attribute[item]...
    Value field(const std::string& text) {
        size_t end = text.find_first_of(".[");
        Value value = argument(text.substr(0, end));
        while (end < text.size()) {
            run.charge(1);
            bool dot = text[end] == '.';
            size_t begin = end + 1;
            end = dot ? text.find_first_of(".[", begin) : text.find(']', begin);
            if (end == std::string::npos) {
                if (!dot) run.fail("expected '}' before end of string");
                end = text.size();
            }
            std::string name = text.substr(begin, end - begin);
            if (name.empty()) run.fail("Empty attribute in format string");
            if (dot) {
                value = run.attribute(value, name);
                continue;
            }
            ++end;
            size_t at = 0;
            bool digits = name.find_first_not_of("0123456789") == std::string::npos;
            value =
                run.item(value, digits ? Value::of(read_number(run, name, at)) : Value::of(name));
        }
        return value;
    }

    std::string expand(const std::string& format, int level) {
        if (level > 1) run.fail("Max string recursion exceeded");
        std::string out;
        for (size_t at = 0; at < format.size();) {
            run.charge(1);
            char c = format[at++];
            if (c == '}') {
                if (at >= format.size() || format[at] != '}')
                    run.fail("Single '}' encountered in format string");
                ++at;
            } else if (c == '{' && at < format.size() && format[at] == '{') {
                ++at;
            } else if (c == '{') {
                replace(format, at, level, out);
                run.check_size(out.size());
                continue;
            }
            out += c;
        }
        return out;
    }

    void replace(const std::string& format, size_t& at, int level, std::string& out) {
        size_t end = at;
        for (int open = 1; end < format.size(); ++end) {
            if (format[end] == '{') ++open;
            if (format[end] == '}' && --open == 0) break;
        }
        if (end >= format.size()) run.fail("expected '}' before end of string");
        std::string inside = format.substr(at, end - at);
        at = end + 1;
        size_t colon = inside.find(':'), mark = inside.find('!');
        std::string spec = colon == std::string::npos ? "" : inside.substr(colon + 1);
        std::string name = inside.substr(0, std::min(colon, mark));
        char conversion = 0;
        if (mark < colon) {
            std::string given = inside.substr(
                mark + 1, colon == std::string::npos ? std::string::npos : colon - mark - 1);
            if (given != "s" && given != "r")
                run.not_supported("the conversion '!" + given + "' in a format");
            conversion = given[0];
        }
        Value value = field(name);
        if (conversion) value = run.string(conversion == 's' ? str(run, value) : repr(run, value));
        out += format_value(run, value, expand(spec, level + 1));
    }
};

} // namespace

std::string brace_format(Run& run, const std::string& format, const Arguments& arguments) {
    return BraceFormat{run, arguments}.expand(format, 0);
}

} // namespace jinja
