#pragma once
// One rendering of a chat template: its variables, its output, and what it has used of its bounds.

#include "text/jinja.h"
#include "text/jinja/syntax.h"

#include <string_view>

namespace jinja {

// Variables of the template, of one round of a loop, of one call of a macro, ...
struct Scope {
    Scope* parent = nullptr;
    std::vector<std::pair<std::string_view, Value>> variables; // names belong to the syntax tree
    bool captured = false; // a macro was made in it, so it stays until the end

    const Value* find(std::string_view name) const;
    void set(std::string_view name, Value value);
};

struct Run {
    const std::string& where;
    JinjaLimits limits;
    std::optional<std::tm> now;
    int line = 1; // of the construct that runs, for messages
    int depth = 0;
    int64_t work = 0;
    JinjaOutput rendered;
    std::string* sink = &rendered.text; // what is written goes here; a macro has a text of its own
    Scope globals, root;
    std::vector<std::unique_ptr<Scope>> kept; // captured scopes
    List namespaces; // all of them: they may hold each other, and are emptied at the end

    Run(const std::string& name, const JinjaLimits& bounds) : where(name), limits(bounds) {}
    ~Run();

    [[noreturn]] void fail(const char* format, ...) const __attribute__((format(printf, 2, 3)));
    [[noreturn]] void not_supported(const std::string& what) const;
    void charge(int64_t steps);
    void check_size(size_t bytes) const;

    // Bounds the depth of calls and expressions while it lives.
    struct Deeper {
        Run& run;
        explicit Deeper(Run& owner) : run(owner) {
            if (++run.depth > run.limits.depth) {
                --run.depth;
                run.fail("calls or expressions are nested more than %d deep", run.limits.depth);
            }
        }
        ~Deeper() { --run.depth; }
    };

    // iter(value): gives the items one by one.
    std::function<bool(Value&)> iterate(const Value& value);
    void for_each(const Value& value, const std::function<void(const Value&)>& visit);
    List list_of(const Value& value);
    int64_t length_of(const Value& value); // len(value)
    bool contains(const Value& container, const Value& item);
    bool test_truth(const Value& value);

    Value item(const Value& value, const Value& key);             // value[key]
    Value attribute(const Value& value, const std::string& name); // value.name
    Value slice(const Value& value, const Value& begin, const Value& end, const Value& step);
    Value call(const Value& function, Arguments& arguments);
    Value string(std::string text, bool markup = false); // a new string, charged for
    Value make_namespace(Dict attributes);

    template <class Items, class Less> void stable_sort(Items& items, Less less) {
        std::stable_sort(items.begin(), items.end(), [&](const auto& a, const auto& b) {
            charge(1);
            return less(a, b);
        });
    }
};

// The parameters of a filter or method by name: `names` in their order; those before `required` must be
// given. Missing ones are kinds of `undefined` that `given` tells from undefined arguments.
struct Bound {
    std::vector<Value> values;
    std::vector<bool> given;
    Bound(Run& run, const std::string& function, const Arguments& arguments,
          std::initializer_list<const char*> names, size_t required);

    const Value& operator[](size_t i) const { return values[i]; }
    bool has(size_t i) const { return given[i] && !values[i].is(Kind::none); }
    int64_t integer_or(size_t i, int64_t missing) const;
    std::string text_or(size_t i, const char* missing) const;
    bool flag_or(size_t i, bool missing) const;

private:
    Run& run;
    std::string function;
};

Value arithmetic(Run& run, const std::string& sign, const Value& left, const Value& right);
Value negate(Run& run, const Value& value);

// A method or another attribute that Python's type has; false: none of that name.
bool python_attribute(Run& run, const Value& value, const std::string& name, Value& result);
Value dict_of(Run& run, Arguments& arguments); // dict(...)
void add_globals(Run& run);                    // range, dict, namespace, ...

Value apply_filter(Run& run, const std::string& name, const Value& value, Arguments& arguments);
bool apply_test(Run& run, const std::string& name, const Value& value, Arguments& arguments);

std::string percent_format(Run& run, const std::string& format, const Value& arguments);
std::string brace_format(Run& run, const std::string& format, const Arguments& arguments);
std::string escape_html(std::string_view text);
std::string str_escaped(Run& run, const Value& value); // str(), HTML-escaped unless it is markup

} // namespace jinja
