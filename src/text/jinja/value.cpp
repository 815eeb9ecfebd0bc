#include "text/jinja/value.h"

#include "text/jinja/python_text.h"
#include "text/jinja/run.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace jinja {

int64_t Range::size() const {
    if (step > 0) return start < stop ? (stop - start - 1) / step + 1 : 0;
    return start > stop ? (start - stop - 1) / -step + 1 : 0;
}

template <class T> static Value with_object(Kind kind, T object) {
    Value value;
    value.kind = kind;
    value.object = std::make_shared<T>(std::move(object));
    return value;
}

Value Value::of_kind(Kind kind) {
    Value value;
    value.kind = kind;
    return value;
}
Value Value::of(bool flag) {
    Value value = of_kind(Kind::boolean);
    value.boolean = flag;
    return value;
}
Value Value::of(int64_t number) {
    Value value = of_kind(Kind::integer);
    value.integer = number;
    return value;
}
Value Value::of(double number) {
    Value value = of_kind(Kind::real);
    value.real = number;
    return value;
}
Value Value::of(std::string text, bool is_markup) {
    Value value = with_object(Kind::string, std::move(text));
    value.markup = is_markup;
    return value;
}
Value Value::of(List list, Kind kind) {
    int inner = 0;
    for (const Value& item : list) inner = std::max(inner, (int)item.depth);
    return with_object(kind, std::move(list)).with_depth(inner);
}
Value Value::of(Dict dict, Kind kind) {
    int inner = 0;
    for (auto& [key, item] : dict.items) inner = std::max({inner, (int)key.depth, (int)item.depth});
    return with_object(kind, std::move(dict)).with_depth(inner);
}
Value Value::of(Range range) { return with_object(Kind::range, range); }
Value Value::of(View view, int depth) {
    return with_object(Kind::view, std::move(view)).with_depth(depth);
}
Value Value::of(Iterator iterator, int depth) {
    return with_object(Kind::iterator, std::move(iterator)).with_depth(depth);
}
Value Value::of(Function function, int depth) {
    return with_object(Kind::function, std::move(function)).with_depth(depth);
}
Value Value::of(Object object, int depth) {
    return with_object(Kind::object, std::move(object)).with_depth(depth);
}
Value Value::with_depth(int inner) && {
    CHECK(inner < 500, "a chat template nests values more than 500 levels deep");
    depth = (uint16_t)(inner + 1);
    return std::move(*this);
}
Value Value::undefined(std::string message) {
    return with_object(Kind::undefined, Undefined{std::move(message)});
}

Value Value::from_json(const Json& json) {
    switch (json.type()) {
    case Json::value_t::boolean:
        return of(json.get<bool>());
    case Json::value_t::number_integer:
        return of(json.get<int64_t>());
    case Json::value_t::number_unsigned: {
        uint64_t number = json.get<uint64_t>();
        return number > INT64_MAX ? of((double)number) : of((int64_t)number);
    }
    case Json::value_t::number_float:
        return of(json.get<double>());
    case Json::value_t::string:
        return of(json.get<std::string>());
    case Json::value_t::array: {
        List list;
        list.reserve(json.size());
        for (const Json& item : json) list.push_back(from_json(item));
        return of(std::move(list));
    }
    case Json::value_t::object: {
        Dict dict;
        for (auto& [key, item] : json.items()) dict.items.emplace_back(of(key), from_json(item));
        return of(std::move(dict));
    }
    default:
        return none();
    }
}

const Value* Dict::find(const Value& key) const {
    for (auto& [name, value] : items)
        if (equal(name, key)) return &value;
    return nullptr;
}

const Value* Dict::find(std::string_view key) const {
    for (auto& [name, value] : items)
        if (name.is_string() && name.string() == key) return &value;
    return nullptr;
}

void Dict::set(const Value& key, const Value& value) {
    if (const Value* found = find(key))
        *const_cast<Value*>(found) = value;
    else
        items.emplace_back(key, value);
}

const char* type_name(const Value& value) {
    switch (value.kind) {
    case Kind::undefined:
        return "Undefined";
    case Kind::none:
        return "NoneType";
    case Kind::boolean:
        return "bool";
    case Kind::integer:
        return "int";
    case Kind::real:
        return "float";
    case Kind::string:
        return value.markup ? "Markup" : "str";
    case Kind::list:
        return "list";
    case Kind::tuple:
        return "tuple";
    case Kind::dict:
        return "dict";
    case Kind::view:
        return value.view().part == View::keys     ? "dict_keys"
               : value.view().part == View::values ? "dict_values"
                                                   : "dict_items";
    case Kind::range:
        return "range";
    case Kind::iterator:
        return value.as<Iterator>().type;
    case Kind::name_space:
        return "Namespace";
    case Kind::function:
        return "function";
    case Kind::object:
        return value.as<Object>().type;
    }
    return "";
}

bool is_hashable(const Value& value) {
    if (value.is(Kind::tuple))
        return std::all_of(value.list().begin(), value.list().end(), is_hashable);
    return !value.is(Kind::list) && !value.is(Kind::dict) && !value.is(Kind::view);
}

bool truth(const Value& value) {
    switch (value.kind) {
    case Kind::undefined:
    case Kind::none:
        return false;
    case Kind::boolean:
        return value.boolean;
    case Kind::integer:
        return value.integer != 0;
    case Kind::real:
        return value.real != 0;
    case Kind::string:
        return !value.string().empty();
    case Kind::list:
    case Kind::tuple:
        return !value.list().empty();
    case Kind::dict:
        return !value.dict().items.empty();
    case Kind::view:
        return !value.view().dict->items.empty();
    case Kind::range:
        return value.range().size() > 0;
    default:
        return true;
    }
}

static int order(double a, double b) { return a < b ? -1 : a > b; }

// An integer against a float without rounding the integer: a long double of x86-64 holds both.
static int compare_numbers(const Value& a, const Value& b) {
    if (a.is_integer() && b.is_integer())
        return a.as_integer() < b.as_integer() ? -1 : a.as_integer() > b.as_integer();
    if (a.is(Kind::real) && b.is(Kind::real)) return order(a.real, b.real);
    long double x = a.is(Kind::real) ? (long double)a.real : (long double)a.as_integer();
    long double y = b.is(Kind::real) ? (long double)b.real : (long double)b.as_integer();
    return x < y ? -1 : x > y;
}

static bool is_nan(const Value& value) { return value.is(Kind::real) && std::isnan(value.real); }

static bool equal_lists(const List& a, const List& b) {
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); ++i)
        if (!equal(a[i], b[i])) return false;
    return true;
}

static bool equal_dicts(const Dict& a, const Dict& b) {
    if (a.items.size() != b.items.size()) return false;
    for (auto& [key, value] : a.items) {
        const Value* other = b.find(key);
        if (!other || !equal(value, *other)) return false;
    }
    return true;
}

bool equal(const Value& a, const Value& b) {
    if (a.is_number() && b.is_number())
        return !is_nan(a) && !is_nan(b) && compare_numbers(a, b) == 0;
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case Kind::undefined:
    case Kind::none:
        return true;
    case Kind::string:
        return a.string() == b.string();
    case Kind::list:
    case Kind::tuple:
        return a.object == b.object || equal_lists(a.list(), b.list());
    case Kind::dict:
        return a.object == b.object || equal_dicts(a.dict(), b.dict());
    case Kind::range: {
        const Range &x = a.range(), &y = b.range();
        if (x.size() != y.size()) return false;
        return x.size() == 0 || (x.start == y.start && (x.size() == 1 || x.step == y.step));
    }
    default:
        return a.object == b.object;
    }
}

bool same(const Value& a, const Value& b) {
    if (a.kind != b.kind) return false;
    if (a.is(Kind::none) || a.is(Kind::boolean)) return equal(a, b);
    if (a.is_number()) return equal(a, b); // CPython keeps one object of a small number
    return a.object == b.object;
}

int compare(Run& run, const Value& a, const Value& b, const char* sign) {
    if (a.is_undefined()) run.fail("%s", a.undefined_message().c_str());
    if (b.is_undefined()) run.fail("%s", b.undefined_message().c_str());
    if (a.is_number() && b.is_number()) return compare_numbers(a, b);
    if (a.is_string() && b.is_string()) {
        run.charge((int64_t)std::min(a.string().size(), b.string().size()));
        int difference = a.string().compare(b.string()); // UTF-8 sorts as its code points do
        return difference < 0 ? -1 : difference > 0;
    }
    if (a.is_sequence() && a.kind == b.kind) {
        Run::Deeper deeper(run);
        const List &x = a.list(), &y = b.list();
        for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
            run.charge(1);
            if (!equal(x[i], y[i])) return compare(run, x[i], y[i], sign);
        }
        return x.size() < y.size() ? -1 : x.size() > y.size();
    }
    run.fail("'%s' not supported between instances of '%s' and '%s'", sign, type_name(a),
             type_name(b));
}

std::string real_text(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
    // The shortest digits that read back, as D.DDDe+XX; then Python's choice of form.
    char buffer[64];
    auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
    std::string text(buffer, end.ptr);
    size_t e = text.find('e');
    int exponent = std::atoi(text.c_str() + e + 1);
    if (exponent < -4 || exponent >= 16) {
        return text; // to_chars writes at least two digits of the exponent, as Python does
    }
    end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
    text.assign(buffer, end.ptr);
    return text.find('.') == std::string::npos ? text + ".0" : text;
}

std::string repr(const std::string& text) {
    bool single = text.find('\'') != std::string::npos, twice = text.find('"') != std::string::npos;
    char quote = single && !twice ? '"' : '\'';
    std::string out(1, quote);
    for (size_t at = 0; at < text.size();) {
        size_t begin = at;
        int32_t c = next_code_point(text, at);
        if (c == quote || c == '\\')
            out += std::string("\\") + (char)c;
        else if (c == '\n')
            out += "\\n";
        else if (c == '\r')
            out += "\\r";
        else if (c == '\t')
            out += "\\t";
        else if (python::is_printable(c))
            out += text.substr(begin, at - begin);
        else
            out += ::format(c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    }
    return out + quote;
}

static std::string repr_all(Run& run, const List& list) {
    std::string out;
    for (const Value& item : list) {
        if (!out.empty()) out += ", ";
        out += repr(run, item);
        run.check_size(out.size());
    }
    return out;
}

static std::string repr_dict(Run& run, const Dict& dict) {
    std::string out = "{";
    for (auto& [key, value] : dict.items) {
        if (out.size() > 1) out += ", ";
        out += repr(run, key) + ": " + repr(run, value);
        run.check_size(out.size());
    }
    return out + "}";
}

std::string repr(Run& run, const Value& value) {
    Run::Deeper deeper(run);
    run.charge(1);
    switch (value.kind) {
    case Kind::undefined:
        return "Undefined";
    case Kind::string: {
        run.charge((int64_t)value.string().size());
        std::string text = repr(value.string());
        return value.markup ? "Markup(" + text + ")" : text;
    }
    case Kind::list:
        return "[" + repr_all(run, value.list()) + "]";
    case Kind::tuple: {
        std::string items = repr_all(run, value.list());
        return "(" + items + (value.list().size() == 1 ? ",)" : ")");
    }
    case Kind::dict:
        return repr_dict(run, value.dict());
    case Kind::name_space:
        return "<Namespace " + repr_dict(run, value.dict()) + ">";
    case Kind::view: {
        List items;
        run.for_each(value, [&](const Value& item) { items.push_back(item); });
        return std::string(type_name(value)) + "([" + repr_all(run, items) + "])";
    }
    case Kind::range: {
        const Range& range = value.range();
        std::string text =
            "range(" + std::to_string(range.start) + ", " + std::to_string(range.stop);
        return text + (range.step == 1 ? "" : ", " + std::to_string(range.step)) + ")";
    }
    case Kind::iterator:
    case Kind::function:
    case Kind::object:
        // Python prints an address, another one each time: no text to train on.
        run.fail("a %s cannot be printed%s", type_name(value),
                 value.is(Kind::iterator) ? "; |list makes a list of it" : "");
    default:
        return str(run, value);
    }
}

std::string str(Run& run, const Value& value) {
    switch (value.kind) {
    case Kind::undefined:
        return "";
    case Kind::none:
        return "None";
    case Kind::boolean:
        return value.boolean ? "True" : "False";
    case Kind::integer:
        return std::to_string(value.integer);
    case Kind::real:
        return real_text(value.real);
    case Kind::string:
        return value.string();
    default:
        return repr(run, value);
    }
}

namespace {

// json.dumps, in the order and with the separators of the style.
struct JsonWriter {
    Run& run;
    const JsonStyle& style;
    std::string out;

    void text(const std::string& value) {
        run.charge((int64_t)value.size());
        out += '"';
        for (size_t at = 0; at < value.size();) {
            size_t begin = at;
            int32_t c = next_code_point(value, at);
            if (c == '"' || c == '\\')
                out += std::string("\\") + (char)c;
            else if (c == '\n')
                out += "\\n";
            else if (c == '\r')
                out += "\\r";
            else if (c == '\t')
                out += "\\t";
            else if (c == '\b')
                out += "\\b";
            else if (c == '\f')
                out += "\\f";
            else if (c < 0x20 || (style.ascii && c >= 0x7F && c < 0x10000))
                out += ::format("\\u%04x", c);
            else if (style.ascii && c >= 0x10000)
                out += ::format("\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                                0xDC00 + ((c - 0x10000) & 0x3FF));
            else
                out.append(value, begin, at - begin);
        }
        out += '"';
    }

    static std::string number(double value) {
        if (std::isnan(value)) return "NaN";
        if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
        return real_text(value);
    }

    void key(const Value& value) {
        if (value.is_string()) return text(value.string());
        if (value.is(Kind::none)) return text("null");
        if (value.is(Kind::boolean)) return text(value.boolean ? "true" : "false");
        if (value.is(Kind::integer)) return text(std::to_string(value.integer));
        if (value.is(Kind::real)) return text(number(value.real));
        run.fail("keys must be str, int, float, bool or None, not %s", type_name(value));
    }

    void new_line(int level) {
        if (!style.indented) return;
        out += '\n';
        for (int i = 0; i < level; ++i) out += style.indent;
    }

    template <class Items, class Write>
    void all(char open, char close, const Items& items, int level, Write write) {
        out += open;
        bool first = true;
        for (const auto& item : items) {
            if (!first) out += style.item_separator;
            first = false;
            new_line(level + 1);
            write(item);
            run.check_size(out.size());
        }
        if (!first) new_line(level);
        out += close;
    }

    void value(const Value& item, int level) {
        Run::Deeper deeper(run);
        run.charge(1);
        switch (item.kind) {
        case Kind::none:
            out += "null";
            return;
        case Kind::boolean:
            out += item.boolean ? "true" : "false";
            return;
        case Kind::integer:
            out += std::to_string(item.integer);
            return;
        case Kind::real:
            out += number(item.real);
            return;
        case Kind::string:
            text(item.string());
            return;
        case Kind::list:
        case Kind::tuple:
            all('[', ']', item.list(), level, [&](const Value& part) { value(part, level + 1); });
            return;
        case Kind::dict: {
            auto items = item.dict().items;
            if (style.sort_keys)
                run.stable_sort(items, [&](const auto& a, const auto& b) {
                    return compare(run, a.first, b.first) < 0;
                });
            all('{', '}', items, level, [&](const auto& pair) {
                key(pair.first);
                out += style.key_separator;
                value(pair.second, level + 1);
            });
            return;
        }
        default:
            run.fail("Object of type %s is not JSON serializable", type_name(item));
        }
    }
};

} // namespace

std::string to_json(Run& run, const Value& value, const JsonStyle& style) {
    JsonWriter writer{run, style, {}};
    writer.value(value, 0);
    return std::move(writer.out);
}

} // namespace jinja
