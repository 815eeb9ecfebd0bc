#include "text/jinja/run.h"

#include <map>

// The tests of Jinja 3.1: what may stand behind "is".

namespace jinja {

namespace {

using Test = bool (*)(Run&, const Value&, const Value&);

struct TestEntry {
    int arguments; // 0 or 1
    Test test;
};

int64_t remainder_of(Run& run, const Value& value, const Value& by) {
    Value rest = arithmetic(run, "%", value, by);
    if (!rest.is_number()) run.fail("this test needs a number, found %s", type_name(value));
    return rest.is(Kind::real) ? (rest.real == 0 ? 0 : rest.real == 1 ? 1 : 2) : rest.as_integer();
}

bool is_callable(const Value& value) {
    return value.is(Kind::function) || value.is_undefined() ||
           (value.is(Kind::object) && value.as<Object>().call);
}

bool is_iterable(const Value& value) {
    return value.is_undefined() || value.is_string() || value.is_sequence() ||
           value.is(Kind::dict) || value.is(Kind::view) || value.is(Kind::range) ||
           value.is(Kind::iterator) ||
           (value.is(Kind::object) && std::string(type_name(value)) == "LoopContext");
}

bool text_case(Run& run, const Value& value, const char* method) {
    Arguments none;
    return truth(run.call(run.attribute(run.string(str(run, value)), method), none));
}

int order(Run& run, const Value& a, const Value& b, const char* sign) {
    return compare(run, a, b, sign);
}

const std::map<std::string, TestEntry>& tests() {
    using V = const Value&;
    static const Test equals = [](Run&, V a, V b) { return equal(a, b); };
    static const Test differs = [](Run&, V a, V b) { return !equal(a, b); };
    static const Test less = [](Run& run, V a, V b) { return order(run, a, b, "<") < 0; };
    static const Test at_most = [](Run& run, V a, V b) { return order(run, a, b, "<=") <= 0; };
    static const Test more = [](Run& run, V a, V b) { return order(run, a, b, ">") > 0; };
    static const Test at_least = [](Run& run, V a, V b) { return order(run, a, b, ">=") >= 0; };
    static const std::map<std::string, TestEntry> table = {
        {"defined", {0, [](Run&, V a, V) { return !a.is_undefined(); }}},
        {"undefined", {0, [](Run&, V a, V) { return a.is_undefined(); }}},
        {"none", {0, [](Run&, V a, V) { return a.is(Kind::none); }}},
        {"boolean", {0, [](Run&, V a, V) { return a.is(Kind::boolean); }}},
        {"true", {0, [](Run&, V a, V) { return a.is(Kind::boolean) && a.boolean; }}},
        {"false", {0, [](Run&, V a, V) { return a.is(Kind::boolean) && !a.boolean; }}},
        {"integer", {0, [](Run&, V a, V) { return a.is(Kind::integer); }}},
        {"float", {0, [](Run&, V a, V) { return a.is(Kind::real); }}},
        {"number", {0, [](Run&, V a, V) { return a.is_number(); }}},
        {"string", {0, [](Run&, V a, V) { return a.is_string(); }}},
        {"mapping", {0, [](Run&, V a, V) { return a.is(Kind::dict); }}},
        {"sequence",
         {0,
          [](Run&, V a, V) {
              return a.is_undefined() || a.is_string() || a.is_sequence() || a.is(Kind::dict) ||
                     a.is(Kind::range);
          }}},
        {"iterable", {0, [](Run&, V a, V) { return is_iterable(a); }}},
        {"callable", {0, [](Run&, V a, V) { return is_callable(a); }}},
        {"escaped", {0, [](Run&, V a, V) { return a.is_string() && a.markup; }}},
        {"lower", {0, [](Run& run, V a, V) { return text_case(run, a, "islower"); }}},
        {"upper", {0, [](Run& run, V a, V) { return text_case(run, a, "isupper"); }}},
        {"odd", {0, [](Run& run, V a, V) { return remainder_of(run, a, Value::of(2)) == 1; }}},
        {"even", {0, [](Run& run, V a, V) { return remainder_of(run, a, Value::of(2)) == 0; }}},
        {"divisibleby", {1, [](Run& run, V a, V b) { return remainder_of(run, a, b) == 0; }}},
        {"filter", {0, [](Run&, V a, V) { return a.is_string() && is_filter(a.string()); }}},
        {"test", {0, [](Run&, V a, V) { return a.is_string() && is_test(a.string()); }}},
        {"sameas", {1, [](Run&, V a, V b) { return same(a, b); }}},
        {"in", {1, [](Run& run, V a, V b) { return run.contains(b, a); }}},
        {"==", {1, equals}},
        {"eq", {1, equals}},
        {"equalto", {1, equals}},
        {"!=", {1, differs}},
        {"ne", {1, differs}},
        {"<", {1, less}},
        {"lt", {1, less}},
        {"lessthan", {1, less}},
        {"<=", {1, at_most}},
        {"le", {1, at_most}},
        {">", {1, more}},
        {"gt", {1, more}},
        {"greaterthan", {1, more}},
        {">=", {1, at_least}},
        {"ge", {1, at_least}},
    };
    return table;
}

} // namespace

bool is_test(const std::string& name) { return tests().count(name); }

bool apply_test(Run& run, const std::string& name, const Value& value, Arguments& arguments) {
    auto found = tests().find(name);
    if (found == tests().end()) run.fail("there is no test named '%s'", name.c_str());
    size_t wanted = found->second.arguments;
    if (arguments.positional.size() != wanted || !arguments.keywords.empty())
        run.fail("the test '%s' takes %zu arguments, found %zu", name.c_str(), wanted,
                 arguments.positional.size() + arguments.keywords.size());
    run.charge(1);
    return found->second.test(run, value, wanted ? arguments.positional[0] : Value::none());
}

} // namespace jinja
