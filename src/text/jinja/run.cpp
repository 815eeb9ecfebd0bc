#include "text/jinja/run.h"

#include "text/jinja/python_text.h"

#include <algorithm>
#include <cstdarg>

namespace jinja {

const Value* Scope::find(std::string_view name) const {
    for (const Scope* scope = this; scope; scope = scope->parent)
        for (auto& [known, value] : scope->variables)
            if (known == name) return &value;
    return nullptr;
}

void Scope::set(std::string_view name, Value value) {
    for (auto& [known, old] : variables)
        if (known == name) {
            old = std::move(value);
            return;
        }
    variables.emplace_back(name, std::move(value));
}

// Macros hold scopes, and namespaces hold each other: emptied one by one, none frees another inside.
Run::~Run() {
    for (auto& scope : kept) scope->variables.clear();
    for (Value& value : namespaces) value.as<Dict>().items.clear();
}

void Run::fail(const char* format, ...) const {
    va_list list;
    va_start(list, format);
    char text[2000];
    std::vsnprintf(text, sizeof text, format, list);
    va_end(list);
    fail_at(where, line, valid_utf8(text));
}

void Run::not_supported(const std::string& what) const {
    fail("%s is not supported in chat templates", what.c_str());
}

void Run::charge(int64_t steps) {
    work += steps;
    if (work > limits.work)
        fail("the chat template takes more than %lld steps", (long long)limits.work);
}

void Run::check_size(size_t bytes) const {
    if (bytes > limits.output)
        fail("the chat template makes a text of more than %zu bytes", limits.output);
}

Value Run::string(std::string text, bool markup) {
    check_size(text.size());
    charge((int64_t)text.size());
    return Value::of(std::move(text), markup);
}

Value Run::make_namespace(Dict attributes) {
    for (auto& [key, value] : attributes.items)
        if (key.is_string() && key.string().rfind("_", 0) == 0)
            fail("a namespace may not have an attribute that begins with an underscore: %s",
                 repr(key.string()).c_str());
    Value made = Value::of(std::move(attributes), Kind::name_space);
    made.depth = 1; // it is emptied before it is freed
    namespaces.push_back(made);
    return made;
}

std::function<bool(Value&)> Run::iterate(const Value& value) {
    switch (value.kind) {
    case Kind::undefined:
        return [](Value&) { return false; };
    case Kind::list:
    case Kind::tuple:
        return [value, i = size_t(0)](Value& item) mutable {
            if (i >= value.list().size()) return false;
            item = value.list()[i++];
            return true;
        };
    case Kind::dict:
        return [value, i = size_t(0)](Value& item) mutable {
            if (i >= value.dict().items.size()) return false;
            item = value.dict().items[i++].first;
            return true;
        };
    case Kind::view:
        return [value, i = size_t(0)](Value& item) mutable {
            const View& view = value.view();
            if (i >= view.dict->items.size()) return false;
            auto& [key, held] = view.dict->items[i++];
            item = view.part == View::keys     ? key
                   : view.part == View::values ? held
                                               : Value::of(List{key, held}, Kind::tuple);
            return true;
        };
    case Kind::string:
        return [value, at = size_t(0)](Value& item) mutable {
            const std::string& text = value.string();
            if (at >= text.size()) return false;
            size_t begin = at;
            next_code_point(text, at);
            item = Value::of(text.substr(begin, at - begin));
            return true;
        };
    case Kind::range:
        return [value, i = int64_t(0)](Value& item) mutable {
            if (i >= value.range().size()) return false;
            item = Value::of(value.range().at(i++));
            return true;
        };
    case Kind::iterator:
        return [value](Value& item) { return value.as<Iterator>().next(item); };
    default:
        fail("'%s' object is not iterable", type_name(value));
    }
}

void Run::for_each(const Value& value, const std::function<void(const Value&)>& visit) {
    auto next = iterate(value);
    Value item;
    while (next(item)) {
        charge(1);
        visit(item);
    }
}

List Run::list_of(const Value& value) {
    if (value.is_sequence()) {
        charge((int64_t)value.list().size());
        return value.list();
    }
    List list;
    for_each(value, [&](const Value& item) { list.push_back(item); });
    return list;
}

int64_t Run::length_of(const Value& value) {
    switch (value.kind) {
    case Kind::undefined:
        return 0;
    case Kind::string:
        charge((int64_t)value.string().size() / 16);
        return python::length(value.string());
    case Kind::list:
    case Kind::tuple:
        return (int64_t)value.list().size();
    case Kind::dict:
        return (int64_t)value.dict().items.size();
    case Kind::view:
        return (int64_t)value.view().dict->items.size();
    case Kind::range:
        return value.range().size();
    case Kind::object:
        if (value.as<Object>().length) return value.as<Object>().length(*this);
        [[fallthrough]];
    default:
        fail("object of type '%s' has no len()%s", type_name(value),
             value.is(Kind::iterator) ? "; |list makes a list of it" : "");
    }
}

bool Run::test_truth(const Value& value) {
    if (value.is(Kind::object) && value.as<Object>().length)
        return value.as<Object>().length(*this) > 0;
    return truth(value);
}

bool Run::contains(const Value& container, const Value& item) {
    switch (container.kind) {
    case Kind::undefined:
        return false;
    case Kind::string:
        if (!item.is_string())
            fail("'in <string>' requires string as left operand, not %s", type_name(item));
        charge((int64_t)container.string().size() / 16);
        return container.string().find(item.string()) != std::string::npos;
    case Kind::dict:
        if (!is_hashable(item)) fail("unhashable type: '%s'", type_name(item));
        charge((int64_t)container.dict().items.size());
        return container.dict().find(item);
    case Kind::view:
        if (container.view().part == View::keys && !is_hashable(item))
            fail("unhashable type: '%s'", type_name(item));
        break;
    default:
        break;
    }
    auto next = iterate(container);
    Value other;
    while (next(other)) {
        charge(1);
        if (same(item, other) || equal(item, other)) return true;
    }
    return false;
}

// What Jinja calls a value in "... has no attribute".
static std::string object_name(const Value& value) {
    if (value.is(Kind::none)) return "None";
    return std::string(type_name(value)) + " object";
}

static Value no_attribute(const Value& value, const std::string& name) {
    return Value::undefined("'" + object_name(value) + "' has no attribute " + repr(name));
}

static bool stored_attribute(const Value& value, const std::string& name, Value& result) {
    if (!value.is(Kind::dict) && !value.is(Kind::name_space)) return false;
    const Value* found = value.dict().find(std::string_view(name));
    if (found) result = *found;
    return found;
}

Value Run::attribute(const Value& value, const std::string& name) {
    if (value.is_undefined()) fail("%s", value.undefined_message().c_str());
    Value result;
    if (value.is(Kind::dict)) charge((int64_t)value.dict().items.size() / 4);
    if (python_attribute(*this, value, name, result)) return result;
    if (stored_attribute(value, name, result)) return result;
    return no_attribute(value, name);
}

static bool element(const List& list, int64_t index, Value& result) {
    if (index < 0) index += (int64_t)list.size();
    if (index < 0 || index >= (int64_t)list.size()) return false;
    result = list[index];
    return true;
}

static bool character(const std::string& text, int64_t index, bool markup, Value& result) {
    if (index < 0) index += python::length(text);
    if (index < 0) return false;
    size_t begin = python::position(text, index);
    if (begin >= text.size()) return false;
    size_t end = begin;
    next_code_point(text, end);
    result = Value::of(text.substr(begin, end - begin), markup);
    return true;
}

Value Run::item(const Value& value, const Value& key) {
    if (value.is_undefined()) fail("%s", value.undefined_message().c_str());
    Value result;
    if (key.is_integer()) {
        int64_t index = key.as_integer();
        if (value.is_sequence() && element(value.list(), index, result)) return result;
        if (value.is_string()) {
            charge((int64_t)value.string().size() / 16);
            if (character(value.string(), index, value.markup, result)) return result;
        }
        if (value.is(Kind::range)) {
            int64_t size = value.range().size();
            if (index < 0) index += size;
            if (index >= 0 && index < size) return Value::of(value.range().at(index));
        }
    }
    if (value.is(Kind::dict)) {
        charge((int64_t)value.dict().items.size() / 4);
        if (const Value* found = is_hashable(key) ? value.dict().find(key) : nullptr) return *found;
    }
    if (!key.is_string())
        return Value::undefined(object_name(value) + " has no element " + repr(*this, key));
    if (python_attribute(*this, value, key.string(), result)) return result;
    if (value.is(Kind::name_space) && stored_attribute(value, key.string(), result)) return result;
    return no_attribute(value, key.string());
}

Value Run::slice(const Value& value, const Value& begin, const Value& end, const Value& step) {
    if (value.is_undefined()) fail("%s", value.undefined_message().c_str());
    bool sliceable = value.is_string() || value.is_sequence() || value.is(Kind::range);
    if (!sliceable)
        fail(value.is(Kind::dict) ? "unhashable type: 'slice'" : "'%s' object is not subscriptable",
             type_name(value));
    for (const Value* bound : {&begin, &end, &step})
        if (!bound->is_integer() && !bound->is(Kind::none))
            fail("slice indices must be integers or None, found %s", type_name(*bound));
    int64_t size = length_of(value), stride = step.is(Kind::none) ? 1 : step.as_integer();
    if (stride == 0) fail("slice step cannot be zero");
    stride = std::clamp<int64_t>(stride, -size - 1, size + 1);
    int64_t low = stride < 0 ? -1 : 0, high = stride < 0 ? size - 1 : size;
    auto place = [&](const Value& bound, int64_t missing) {
        if (bound.is(Kind::none)) return missing;
        int64_t index = bound.as_integer();
        if (index < 0) index = index < -size ? low : index + size;
        return std::clamp(index, low, high);
    };
    Range places{place(begin, stride < 0 ? high : low), place(end, stride < 0 ? low : high),
                 stride};
    int64_t count = places.size();
    charge(count);
    if (value.is(Kind::range)) {
        const Range& range = value.range();
        return Value::of(Range{range.at(places.start), range.at(places.stop), range.step * stride});
    }
    if (value.is_sequence()) {
        List list;
        for (int64_t i = 0; i < count; ++i) list.push_back(value.list()[places.at(i)]);
        return Value::of(std::move(list), value.kind);
    }
    const std::string& text = value.string();
    if (stride == 1) {
        size_t from = python::position(text, places.start);
        size_t to = from + python::position(std::string_view(text).substr(from), count);
        return string(text.substr(from, to - from), value.markup);
    }
    std::vector<std::string> all = python::characters(text);
    std::string out;
    for (int64_t i = 0; i < count; ++i) out += all[places.at(i)];
    return string(std::move(out), value.markup);
}

Value Run::call(const Value& function, Arguments& arguments) {
    if (function.is_undefined()) fail("%s", function.undefined_message().c_str());
    Deeper deeper(*this);
    charge(1);
    if (function.is(Kind::function)) return function.as<Function>().call(*this, arguments);
    if (function.is(Kind::object) && function.as<Object>().call)
        return function.as<Object>().call(*this, arguments);
    fail("'%s' object is not callable", type_name(function));
}

// ---- parameters ----------------------------------------------------------------------------------------

Bound::Bound(Run& owner, const std::string& name, const Arguments& arguments,
             std::initializer_list<const char*> names, size_t required)
    : values(names.size()), given(names.size()), run(owner), function(name) {
    if (arguments.positional.size() > names.size())
        run.fail("%s takes at most %zu arguments, found %zu", function.c_str(), names.size(),
                 arguments.positional.size());
    for (size_t i = 0; i < arguments.positional.size(); ++i) {
        values[i] = arguments.positional[i];
        given[i] = true;
    }
    for (auto& [key, value] : arguments.keywords) {
        auto found = std::find(names.begin(), names.end(), key);
        if (found == names.end())
            run.fail("%s has no argument named '%s'", function.c_str(), key.c_str());
        size_t i = found - names.begin();
        if (given[i])
            run.fail("%s got two values for the argument '%s'", function.c_str(), key.c_str());
        values[i] = value;
        given[i] = true;
    }
    for (size_t i = 0; i < required; ++i)
        if (!given[i]) run.fail("%s needs the argument '%s'", function.c_str(), names.begin()[i]);
}

int64_t Bound::integer_or(size_t i, int64_t missing) const {
    if (!given[i]) return missing;
    if (!values[i].is_integer())
        run.fail("%s: '%s' object cannot be interpreted as an integer", function.c_str(),
                 type_name(values[i]));
    return values[i].as_integer();
}

std::string Bound::text_or(size_t i, const char* missing) const {
    if (!given[i]) return missing;
    if (!values[i].is_string())
        run.fail("%s needs a string, found %s", function.c_str(), type_name(values[i]));
    return values[i].string();
}

bool Bound::flag_or(size_t i, bool missing) const {
    return given[i] ? run.test_truth(values[i]) : missing;
}

} // namespace jinja
