#pragma once
// Values of chat templates: what Jinja takes from Python, with Python's truth, equality, order and
// printed form. Lists, tuples and dicts never change once they are made, as in Jinja's immutable
// sandbox; only a namespace does.

#include "base/json.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace jinja {

struct Run; // one rendering, which knows the line of an error: run.h
struct Value;
struct Arguments;

enum class Kind : uint8_t {
    undefined, // a name, key or attribute that is not there
    none,
    boolean,
    integer,
    real,
    string,
    list,
    tuple,
    dict,
    view, // dict.keys(), .values(), .items()
    range,
    iterator, // what select, map, reverse, ... give: passed through once
    name_space,
    function, // macros, methods, globals
    object    // loop, cycler: attributes and a call
};

using List = std::vector<Value>;

struct Undefined {
    std::string message; // of the error when it is used
};

struct Range {
    int64_t start = 0, stop = 0, step = 1;
    int64_t size() const;
    int64_t at(int64_t index) const { return start + index * step; }
};

struct Iterator {
    std::function<bool(Value&)> next; // false: no more
    const char* type = "generator";
};

struct Function {
    std::string name;
    std::function<Value(Run&, Arguments&)> call;
};

struct Object {
    const char* type;
    std::function<Value(Run&, const std::string& name)> attribute; // undefined: none of that name
    std::function<Value(Run&, Arguments&)> call;                   // empty: not callable
    std::function<int64_t(Run&)> length;                           // empty: has none
    std::function<bool(Value&)> next;                              // empty: not iterable
};

struct Dict;
struct View {
    std::shared_ptr<const Dict> dict;
    enum Part { keys, values, items } part;
};

struct Value {
    Kind kind = Kind::undefined;
    bool markup = false; // of a string: escaped HTML, what |safe and |escape give
    uint16_t depth = 0;  // levels of values inside this one: bounded, as freeing them recurses
    union {
        bool boolean;
        int64_t integer = 0;
        double real;
    };
    std::shared_ptr<void> object; // of the kinds that are no numbers

    static Value none() { return of_kind(Kind::none); }
    static Value of(bool value);
    static Value of(int64_t value);
    static Value of(int value) { return of((int64_t)value); }
    static Value of(double value);
    static Value of(std::string text, bool is_markup = false);
    static Value of(const char* text) { return of(std::string(text)); }
    static Value of(List list, Kind kind = Kind::list);
    static Value of(Dict dict, Kind kind = Kind::dict);
    static Value of(Range range);
    static Value of(View view, int depth);
    // `depth`: of the values that the functions hold
    static Value of(Iterator iterator, int depth);
    static Value of(Function function, int depth = 0);
    static Value of(Object object, int depth);
    static Value undefined(std::string message);
    static Value from_json(const Json& json);

    bool is(Kind other) const { return kind == other; }
    bool is_string() const { return kind == Kind::string; }
    bool is_undefined() const { return kind == Kind::undefined; }
    bool is_integer() const { return kind == Kind::integer || kind == Kind::boolean; }
    bool is_number() const { return is_integer() || kind == Kind::real; }
    bool is_sequence() const { return kind == Kind::list || kind == Kind::tuple; }

    int64_t as_integer() const { return kind == Kind::boolean ? boolean : integer; }
    double as_real() const { return kind == Kind::real ? real : (double)as_integer(); }
    template <class T> T& as() const { return *(T*)object.get(); }
    const std::string& string() const { return as<std::string>(); }
    const List& list() const { return as<List>(); } // of a tuple, too
    const Dict& dict() const { return as<Dict>(); } // of a namespace, too
    const Range& range() const { return as<Range>(); }
    const View& view() const { return as<View>(); }
    const std::string& undefined_message() const { return as<Undefined>().message; }

private:
    static Value of_kind(Kind kind);
    Value with_depth(int inner) &&;
};

// In insertion order. Keys are compared as Python does it: 1, 1.0 and True are one key.
struct Dict {
    std::vector<std::pair<Value, Value>> items;
    const Value* find(const Value& key) const;
    const Value* find(std::string_view key) const;
    void set(const Value& key, const Value& value);
};

// Of a call or a filter, in the order in which they were written.
struct Arguments {
    List positional;
    std::vector<std::pair<std::string, Value>> keywords;
};

const char* type_name(const Value& value); // "str", "NoneType", ...
bool is_hashable(const Value& value);
bool truth(const Value& value);
bool equal(const Value& a, const Value& b); // ==
bool same(const Value& a, const Value& b);  // is
// a < b: -1, a == b: 0, a > b: 1; fails where Python has no order. `sign`: the operator, for the error.
int compare(Run& run, const Value& a, const Value& b, const char* sign = "<");

std::string str(Run& run, const Value& value);  // str(), what {{ }} prints
std::string repr(Run& run, const Value& value); // repr(), what a list shows of its items
std::string repr(const std::string& text);
std::string real_text(double value); // repr() of a float

// json.dumps
struct JsonStyle {
    bool ascii = false, sort_keys = false;
    bool indented = false;
    std::string indent, item_separator = ", ", key_separator = ": ";
};
std::string to_json(Run& run, const Value& value, const JsonStyle& style);

} // namespace jinja
