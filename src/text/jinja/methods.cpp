#include "text/jinja/python_text.h"
#include "text/jinja/run.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_set>

// Python's operators and methods, and the functions that Jinja and transformers add.

namespace jinja {

// ---- methods of str ------------------------------------------------------------------------------------

namespace {

using Method = Value (*)(Run&, const Value&, Arguments&);
using Methods = std::map<std::string, Method>;

void check_text(Run& run, const Value& value, const char* method) {
    if (!value.is_string()) run.fail("%s() needs a str, found %s", method, type_name(value));
}

template <python::Side side> Value strip(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "strip", arguments, {"chars"}, 0);
    const std::string& text = self.string();
    if (!bound.has(0)) return run.string(std::string(python::strip(text, side)), self.markup);
    check_text(run, bound[0], "strip");
    return run.string(std::string(python::strip(text, bound[0].string(), side)), self.markup);
}

Value strings(Run& run, std::vector<std::string> texts, bool markup, Kind kind = Kind::list) {
    List list;
    for (std::string& text : texts) list.push_back(run.string(std::move(text), markup));
    run.charge((int64_t)list.size());
    return Value::of(std::move(list), kind);
}

template <bool from_right> Value split(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "split", arguments, {"sep", "maxsplit"}, 0);
    int64_t maximum = bound.integer_or(1, -1);
    run.charge((int64_t)self.string().size());
    if (!bound.has(0))
        return strings(run, python::split(self.string(), maximum, from_right), self.markup);
    check_text(run, bound[0], "split");
    if (bound[0].string().empty()) run.fail("empty separator");
    return strings(run, python::split(self.string(), bound[0].string(), maximum, from_right),
                   self.markup);
}

template <bool from_right> Value partition(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "partition", arguments, {"sep"}, 1);
    check_text(run, bound[0], "partition");
    if (bound[0].string().empty()) run.fail("empty separator");
    const std::string &text = self.string(), &mark = bound[0].string();
    size_t at = from_right ? text.rfind(mark) : text.find(mark);
    if (at == std::string::npos) {
        std::vector<std::string> none = {text, "", ""};
        if (from_right) std::swap(none[0], none[2]);
        return strings(run, none, self.markup, Kind::tuple);
    }
    return strings(run, {text.substr(0, at), mark, text.substr(at + mark.size())}, self.markup,
                   Kind::tuple);
}

// The part of the text that start and end, arguments 1 and 2, name; `offset`: its first character.
// False: start lies behind the end.
bool window(Run& run, const Value& self, const Bound& bound, std::string_view& part,
            int64_t& offset) {
    std::string_view text = self.string();
    run.charge((int64_t)text.size() / 16);
    offset = 0;
    part = text;
    if (!bound.has(1) && !bound.has(2)) return true;
    int64_t size = python::length(text);
    auto place = [&](size_t i, int64_t missing) {
        int64_t index = bound.has(i) ? bound.integer_or(i, missing) : missing;
        return std::max<int64_t>(index < 0 ? index + size : index, 0);
    };
    int64_t begin = place(1, 0), end = std::min(place(2, size), size);
    if (begin > size || begin > end) return false;
    size_t from = python::position(text, begin);
    part = text.substr(from, python::position(text.substr(from), end - begin));
    offset = begin;
    return true;
}

template <bool at_start> Value has_end(Run& run, const Value& self, Arguments& arguments) {
    const char* name = at_start ? "startswith" : "endswith";
    Bound bound(run, name, arguments, {"prefix", "start", "end"}, 1);
    std::string_view part;
    int64_t offset = 0;
    bool inside = window(run, self, bound, part, offset);
    auto matches = [&](const Value& mark) {
        check_text(run, mark, name);
        const std::string& text = mark.string();
        if (!inside || text.size() > part.size()) return false;
        return part.substr(at_start ? 0 : part.size() - text.size(), text.size()) == text;
    };
    if (!bound[0].is(Kind::tuple)) return Value::of(matches(bound[0]));
    for (const Value& mark : bound[0].list())
        if (matches(mark)) return Value::of(true);
    return Value::of(false);
}

template <bool from_right, bool must>
Value find(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "find", arguments, {"sub", "start", "end"}, 1);
    check_text(run, bound[0], "find");
    std::string_view part;
    int64_t offset = 0;
    size_t at = std::string_view::npos;
    if (window(run, self, bound, part, offset))
        at = from_right ? part.rfind(bound[0].string()) : part.find(bound[0].string());
    if (at == std::string_view::npos) {
        if (must) run.fail("substring not found");
        return Value::of(-1);
    }
    return Value::of(offset + python::length(part.substr(0, at)));
}

Value count_text(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "count", arguments, {"sub", "start", "end"}, 1);
    check_text(run, bound[0], "count");
    std::string_view part;
    int64_t offset = 0, count = 0;
    if (!window(run, self, bound, part, offset)) return Value::of(0);
    const std::string& mark = bound[0].string();
    if (mark.empty()) return Value::of(python::length(part) + 1);
    for (size_t at = part.find(mark); at != std::string_view::npos;
         at = part.find(mark, at + mark.size()))
        ++count;
    return Value::of(count);
}

Value replace_text(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "replace", arguments, {"old", "new", "count"}, 2);
    check_text(run, bound[0], "replace");
    check_text(run, bound[1], "replace");
    const std::string &from = bound[0].string(), &text = self.string();
    std::string to = self.markup ? str_escaped(run, bound[1]) : bound[1].string();
    int64_t maximum = bound.integer_or(2, -1);
    if (to.size() > from.size()) { // before it is made: how much longer it can become
        size_t most = from.empty() ? text.size() + 1 : text.size() / from.size();
        if (maximum >= 0) most = std::min(most, (size_t)maximum);
        run.check_size(text.size() + most / 64 * (to.size() - from.size()));
    }
    return run.string(python::replace(text, from, to, maximum), self.markup);
}

Value join_texts(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "join", arguments, {"iterable"}, 1);
    std::string text;
    bool first = true;
    run.for_each(bound[0], [&](const Value& item) {
        if (!item.is_string() && !self.markup)
            run.fail("sequence item: expected str instance, %s found", type_name(item));
        if (!first) text += self.string();
        first = false;
        text += self.markup ? str_escaped(run, item) : item.string();
        run.check_size(text.size());
    });
    return run.string(std::move(text), self.markup);
}

template <std::string (*change)(std::string_view)>
Value changed(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "a method of str", arguments, {}, 0);
    return run.string(change(self.string()), self.markup);
}

Value lines_of(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "splitlines", arguments, {"keepends"}, 0);
    return strings(run, python::split_lines(self.string(), bound.flag_or(0, false)), self.markup);
}

template <bool at_start> Value without(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "removeprefix", arguments, {"prefix"}, 1);
    check_text(run, bound[0], "removeprefix");
    const std::string &text = self.string(), &mark = bound[0].string();
    bool found = text.size() >= mark.size() &&
                 text.compare(at_start ? 0 : text.size() - mark.size(), mark.size(), mark) == 0;
    if (!found) return self;
    return run.string(text.substr(at_start ? mark.size() : 0, text.size() - mark.size()),
                      self.markup);
}

// ljust, rjust, center: the share of the filling that goes to the left, in halves.
template <int left_halves> Value padded(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "ljust", arguments, {"width", "fillchar"}, 1);
    std::string fill = bound.text_or(1, " ");
    if (python::length(fill) != 1)
        run.fail("the fill character must be exactly one character long");
    int64_t width = bound.integer_or(0, 0);
    int64_t missing = std::max<int64_t>(width - python::length(self.string()), 0);
    run.charge(missing);
    run.check_size((size_t)missing);
    // CPython's center puts the odd one to the left where the width is odd.
    int64_t left = left_halves == 0   ? 0
                   : left_halves == 2 ? missing
                                      : missing / 2 + (missing & width & 1);
    std::string text;
    for (int64_t i = 0; i < left; ++i) text += fill;
    text += self.string();
    for (int64_t i = left; i < missing; ++i) text += fill;
    return run.string(std::move(text), self.markup);
}

Value zero_filled(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "zfill", arguments, {"width"}, 1);
    const std::string& text = self.string();
    int64_t missing = std::max<int64_t>(bound.integer_or(0, 0) - python::length(text), 0);
    run.charge(missing);
    run.check_size((size_t)missing);
    size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+');
    return run.string(text.substr(0, sign) + std::string(missing, '0') + text.substr(sign),
                      self.markup);
}

Value expanded(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "expandtabs", arguments, {"tabsize"}, 0);
    int64_t size = bound.integer_or(0, 8), column = 0;
    std::string text;
    for (const std::string& character : python::characters(self.string())) {
        if (character == "\t") {
            int64_t fill = size > 0 ? size - column % size : 0;
            run.charge(fill);
            run.check_size(text.size() + (size_t)fill);
            text.append((size_t)fill, ' ');
            column += fill;
        } else {
            text += character;
            column = character == "\n" || character == "\r" ? 0 : column + 1;
        }
    }
    return run.string(std::move(text), self.markup);
}

Value formatted(Run& run, const Value& self, Arguments& arguments) {
    if (self.markup) run.not_supported("format() of text marked as safe");
    return run.string(brace_format(run, self.string(), arguments));
}

// True if there are characters and all are so.
template <bool (*test)(int32_t)> Value all_are(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "a method of str", arguments, {}, 0);
    const std::string& text = self.string();
    run.charge((int64_t)text.size() / 16);
    for (size_t at = 0; at < text.size();)
        if (!test(next_code_point(text, at))) return Value::of(false);
    return Value::of(!text.empty());
}

bool is_digit(int32_t c) {
    return python::is_decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 ||
           (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089) ||
           (c >= 0x2460 && c <= 0x2468) || (c >= 0x1369 && c <= 0x1371);
}
bool is_alphanumeric(int32_t c) { return python::is_letter(c) || is_number(c); }
bool is_ascii(int32_t c) { return c < 0x80; }

// islower and isupper: some character has that case and none another one.
template <bool (*wanted)(int32_t), bool (*other)(int32_t)>
Value of_one_case(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "a method of str", arguments, {}, 0);
    const std::string& text = self.string();
    bool any = false;
    for (size_t at = 0; at < text.size();) {
        int32_t c = next_code_point(text, at);
        if (other(c) || python::is_title(c)) return Value::of(false);
        any |= wanted(c);
    }
    return Value::of(any);
}

Value is_titled(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "istitle", arguments, {}, 0);
    const std::string& text = self.string();
    bool inside = false, any = false;
    for (size_t at = 0; at < text.size();) {
        int32_t c = next_code_point(text, at);
        if (python::is_upper(c) || python::is_title(c)) {
            if (inside) return Value::of(false);
            inside = any = true;
        } else if (python::is_lower(c)) {
            if (!inside) return Value::of(false);
            any = true;
        } else {
            inside = false;
        }
    }
    return Value::of(any);
}

Value is_identifier(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "isidentifier", arguments, {}, 0);
    const std::string& text = self.string();
    for (size_t at = 0; at < text.size();) {
        bool first = at == 0;
        int32_t c = next_code_point(text, at);
        if (c != '_' && !(first ? python::is_letter(c) : is_word(c))) return Value::of(false);
    }
    return Value::of(!text.empty());
}

const Methods& string_methods() {
    using namespace python;
    static const Methods methods = {
        {"strip", strip<both>},
        {"lstrip", strip<left>},
        {"rstrip", strip<right>},
        {"split", jinja::split<false>},
        {"rsplit", jinja::split<true>},
        {"splitlines", lines_of},
        {"partition", partition<false>},
        {"rpartition", partition<true>},
        {"startswith", has_end<true>},
        {"endswith", has_end<false>},
        {"find", find<false, false>},
        {"rfind", find<true, false>},
        {"index", find<false, true>},
        {"rindex", find<true, true>},
        {"count", count_text},
        {"replace", replace_text},
        {"join", join_texts},
        {"upper", changed<upper>},
        {"lower", changed<lower>},
        {"title", changed<title>},
        {"capitalize", changed<capitalize>},
        {"swapcase", changed<swap_case>},
        {"casefold", changed<case_fold>},
        {"removeprefix", without<true>},
        {"removesuffix", without<false>},
        {"ljust", padded<0>},
        {"center", padded<1>},
        {"rjust", padded<2>},
        {"zfill", zero_filled},
        {"expandtabs", expanded},
        {"format", formatted},
        {"isspace", all_are<is_space>},
        {"isalpha", all_are<is_letter>},
        {"isdecimal", all_are<is_decimal>},
        {"isdigit", all_are<is_digit>},
        {"isalnum", all_are<is_alphanumeric>},
        {"isprintable", all_are<is_printable>},
        {"isascii", all_are<is_ascii>},
        {"islower", of_one_case<is_lower, is_upper>},
        {"isupper", of_one_case<is_upper, is_lower>},
        {"istitle", is_titled},
        {"isidentifier", is_identifier},
    };
    return methods;
}

// ---- methods of the others -----------------------------------------------------------------------------

Value index_of(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "index", arguments, {"value", "start", "stop"}, 1);
    int64_t size = run.length_of(self);
    auto place = [&](size_t i, int64_t missing) {
        int64_t index = bound.integer_or(i, missing);
        return std::max<int64_t>(index < 0 ? index + size : index, 0);
    };
    for (int64_t i = place(1, 0); i < std::min(place(2, size), size); ++i) {
        run.charge(1);
        if (equal(run.item(self, Value::of(i)), bound[0])) return Value::of(i);
    }
    run.fail("%s is not in %s", repr(run, bound[0]).c_str(), type_name(self));
}

Value count_items(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "count", arguments, {"value"}, 1);
    int64_t count = 0;
    run.for_each(self, [&](const Value& item) { count += equal(item, bound[0]); });
    return Value::of(count);
}

Value copied(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "copy", arguments, {}, 0);
    return self;
}

template <View::Part part> Value view(Run& run, const Value& self, Arguments& arguments) {
    Bound bound(run, "a method of dict", arguments, {}, 0);
    return Value::of(View{std::static_pointer_cast<const Dict>(self.object), part}, self.depth);
}

Value get(Run& run, const Value& self, Arguments& arguments) {
    if (!arguments.keywords.empty()) run.fail("dict.get() takes no keyword arguments");
    Bound bound(run, "get", arguments, {"key", "default"}, 1);
    if (!is_hashable(bound[0])) run.fail("unhashable type: '%s'", type_name(bound[0]));
    run.charge((int64_t)self.dict().items.size() / 4);
    if (const Value* found = self.dict().find(bound[0])) return *found;
    return bound.given[1] ? bound[1] : Value::none();
}

const Methods* methods_of(const Value& value) {
    static const Methods list = {{"index", index_of}, {"count", count_items}, {"copy", copied}};
    static const Methods tuple = {{"index", index_of}, {"count", count_items}};
    static const Methods dict = {{"keys", view<View::keys>},
                                 {"values", view<View::values>},
                                 {"items", view<View::items>},
                                 {"get", get},
                                 {"copy", copied}};
    switch (value.kind) {
    case Kind::string:
        return &string_methods();
    case Kind::list:
        return &list;
    case Kind::tuple:
    case Kind::range:
        return &tuple;
    case Kind::dict:
        return &dict;
    default:
        return nullptr;
    }
}

using Names = std::unordered_set<std::string>;

// Attributes that Python's types have and a chat template may not use: lists and dicts are immutable.
const Names& forbidden(const Value& value) {
    static const Names list = {"append", "clear", "pop",    "reverse",
                               "insert", "sort",  "extend", "remove"};
    static const Names dict = {"clear", "pop", "popitem", "setdefault", "update"};
    static const Names none;
    return value.is(Kind::list) ? list : value.is(Kind::dict) ? dict : none;
}

// Attributes that Python's types have and that are not made here.
const Names& not_made(const Value& value) {
    static const Names text = {"encode",    "maketrans", "translate", "format_map",
                               "isnumeric", "unescape",  "striptags", "escape"};
    static const Names number = {
        "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator",
        "from_bytes",       "fromhex",   "hex",        "imag",      "is_integer",
        "numerator",        "real",      "to_bytes"};
    static const Names dict = {"fromkeys"};
    static const Names view = {"isdisjoint", "mapping"};
    static const Names iterator = {"send", "throw", "close", "gi_frame", "gi_code", "gi_running"};
    static const Names none;
    switch (value.kind) {
    case Kind::string:
        return text;
    case Kind::boolean:
    case Kind::integer:
    case Kind::real:
        return number;
    case Kind::dict:
        return dict;
    case Kind::view:
        return view;
    case Kind::iterator:
        return iterator;
    default:
        return none;
    }
}

} // namespace

bool python_attribute(Run& run, const Value& value, const std::string& name, Value& result) {
    if (value.is(Kind::object)) {
        result = value.as<Object>().attribute(run, name);
        return !result.is_undefined() || name != "next";
    }
    if (value.is(Kind::range) && (name == "start" || name == "stop" || name == "step")) {
        const Range& range = value.range();
        result = Value::of(name == "start"  ? range.start
                           : name == "stop" ? range.stop
                                            : range.step);
        return true;
    }
    bool dunder =
        name.size() > 4 && name.rfind("__", 0) == 0 && name.compare(name.size() - 2, 2, "__") == 0;
    if (forbidden(value).count(name) || dunder) {
        result = Value::undefined("access to attribute '" + name + "' of '" + type_name(value) +
                                  "' object is unsafe.");
        return true;
    }
    if (not_made(value).count(name))
        run.not_supported(std::string("'") + name + "' of a " + type_name(value));
    const Methods* methods = methods_of(value);
    if (!methods) return false;
    auto found = methods->find(name);
    if (found == methods->end()) return false;
    Method method = found->second;
    result = Value::of(Function{name,
                                [method, value](Run& caller, Arguments& arguments) {
                                    return method(caller, value, arguments);
                                }},
                       value.depth);
    return true;
}

} // namespace jinja
