#include "text/jinja/filters.h"
#include "text/jinja/python_text.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_set>

// The filters of sequences and the few others; text_filters.cpp and numbers.cpp have theirs.

namespace jinja {

namespace {

// ---- keys of sort, map, ...: "a.b.0" of an item -------------------------------------------------------

std::vector<Value> attribute_path(Run& run, const Value& attribute) {
    std::vector<Value> path;
    if (attribute.is(Kind::none)) return path;
    if (!attribute.is_string()) return {attribute};
    for (const std::string& part : python::split(attribute.string(), ".", -1, false)) {
        bool digits = !part.empty() && part.size() < 18 &&
                      part.find_first_not_of("0123456789") == std::string::npos;
        path.push_back(digits ? Value::of((int64_t)std::atoll(part.c_str())) : Value::of(part));
    }
    run.charge((int64_t)path.size());
    return path;
}

Value follow(Run& run, Value item, const std::vector<Value>& path, const Value* missing = nullptr) {
    for (const Value& part : path) {
        run.charge(1);
        item = run.item(item, part);
        if (missing && item.is_undefined()) item = *missing;
    }
    return item;
}

Value without_case(Run& run, const Value& value, bool case_sensitive) {
    return case_sensitive || !value.is_string() ? value : run.string(python::lower(value.string()));
}

// ---- sequences -----------------------------------------------------------------------------------------

Value first(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "first", arguments, {}, 0);
    Value item;
    if (run.iterate(value)(item)) return item;
    return Value::undefined("No first item, sequence was empty.");
}

bool is_reversible(const Value& value) {
    return value.is_sequence() || value.is_string() || value.is(Kind::range) ||
           value.is(Kind::dict) || value.is(Kind::view) || value.is_undefined();
}

Value last(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "last", arguments, {}, 0);
    if (!is_reversible(value))
        run.fail("'%s' object is not reversible%s", type_name(value),
                 value.is(Kind::iterator) ? "; |list makes a list of it" : "");
    List items = run.list_of(value);
    return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value reverse(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "reverse", arguments, {}, 0);
    if (value.is_string()) return run.slice(value, Value::none(), Value::none(), Value::of(-1));
    List items = run.list_of(value);
    std::reverse(items.begin(), items.end());
    if (!is_reversible(value)) return Value::of(std::move(items));
    const char* type = value.is(Kind::list) ? "list_reverseiterator" : "reversed";
    return Value::of(Iterator{run.iterate(Value::of(std::move(items))), type}, value.depth);
}

Value list(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "list", arguments, {}, 0);
    return Value::of(run.list_of(value));
}

Value length(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "length", arguments, {}, 0);
    return Value::of(run.length_of(value));
}

Value join(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "join", arguments, {"d", "attribute"}, 0);
    std::string separator = bound.given[0] ? str(run, bound[0]) : "", text;
    bool by_attribute = bound.has(1), any = false;
    std::vector<Value> path;
    if (by_attribute) path = attribute_path(run, bound[1]);
    run.for_each(value, [&](const Value& item) {
        if (any) text += separator;
        any = true;
        text += str(run, by_attribute ? follow(run, item, path) : item);
        run.charge((int64_t)separator.size());
        run.check_size(text.size());
    });
    return run.string(std::move(text));
}

// Iterators are read when they are used, as Python's generators are.
Value generator(std::function<bool(Value&)> next, int depth) {
    return Value::of(Iterator{std::move(next), "generator"}, depth);
}

Value map(Run& run, const Value& value, Arguments& arguments) {
    if (!run.test_truth(value)) return generator([](Value&) { return false; }, 0);
    auto next = run.iterate(value);
    int depth = value.depth;
    for (const Value& argument : arguments.positional) depth = std::max(depth, (int)argument.depth);
    for (auto& [key, argument] : arguments.keywords) depth = std::max(depth, (int)argument.depth);
    bool by_attribute = arguments.positional.empty() && !arguments.keywords.empty();
    if (by_attribute) {
        Bound bound(run, "map", arguments, {"attribute", "default"}, 1);
        auto path = attribute_path(run, bound[0]);
        Value missing = bound[1];
        bool has_missing = bound.has(1);
        return generator(
            [&run, next, path, missing, has_missing](Value& item) mutable {
                if (!next(item)) return false;
                item = follow(run, item, path, has_missing ? &missing : nullptr);
                return true;
            },
            depth);
    }
    if (arguments.positional.empty()) run.fail("map requires a filter argument");
    if (!arguments.positional[0].is_string()) run.fail("map requires the name of a filter");
    std::string name = arguments.positional[0].string();
    Arguments rest = arguments;
    rest.positional.erase(rest.positional.begin());
    return generator(
        [&run, next, name, rest](Value& item) mutable {
            Run::Deeper deeper(run);
            if (!next(item)) return false;
            Arguments each = rest;
            item = apply_filter(run, name, item, each);
            return true;
        },
        depth);
}

// select, reject, selectattr, rejectattr
template <bool keep, bool by_attribute>
Value choose(Run& run, const Value& value, Arguments& arguments) {
    if (!run.test_truth(value)) return generator([](Value&) { return false; }, 0);
    auto next = run.iterate(value);
    int depth = value.depth;
    for (const Value& argument : arguments.positional) depth = std::max(depth, (int)argument.depth);
    Arguments rest = arguments;
    std::vector<Value> path;
    if (by_attribute) {
        if (rest.positional.empty()) run.fail("Missing parameter for attribute name");
        path = attribute_path(run, rest.positional[0]);
        rest.positional.erase(rest.positional.begin());
    }
    bool has_test = !rest.positional.empty();
    std::string test;
    if (has_test) {
        if (!rest.positional[0].is_string()) run.fail("the name of a test must be a string");
        test = rest.positional[0].string();
        rest.positional.erase(rest.positional.begin());
    }
    return generator(
        [&run, next, path, has_test, test, rest](Value& item) mutable {
            Run::Deeper deeper(run);
            while (next(item)) {
                run.charge(1);
                Value subject = by_attribute ? follow(run, item, path) : item;
                Arguments each = rest;
                bool passes =
                    has_test ? apply_test(run, test, subject, each) : run.test_truth(subject);
                if (passes == keep) return true;
            }
            return false;
        },
        depth);
}

Value sorted(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "sort", arguments, {"reverse", "case_sensitive", "attribute"}, 0);
    bool backwards = bound.flag_or(0, false), case_sensitive = bound.flag_or(1, false);
    std::vector<std::vector<Value>> paths;
    if (bound.has(2) && bound[2].is_string())
        for (const std::string& part : python::split(bound[2].string(), ",", -1, false))
            paths.push_back(attribute_path(run, Value::of(part)));
    else
        paths.push_back(attribute_path(run, bound.has(2) ? bound[2] : Value::none()));
    std::vector<std::pair<Value, Value>> keyed; // key, item
    run.for_each(value, [&](const Value& item) {
        List key;
        for (auto& path : paths)
            key.push_back(without_case(run, follow(run, item, path), case_sensitive));
        keyed.emplace_back(Value::of(std::move(key)), item);
    });
    run.stable_sort(keyed, [&](const auto& a, const auto& b) {
        return backwards ? compare(run, b.first, a.first) < 0 : compare(run, a.first, b.first) < 0;
    });
    List items;
    for (auto& [key, item] : keyed) items.push_back(item);
    return Value::of(std::move(items));
}

Value dict_sorted(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "dictsort", arguments, {"case_sensitive", "by", "reverse"}, 0);
    std::string by = bound.text_or(1, "key");
    if (by != "key" && by != "value") run.fail("You can only sort by either \"key\" or \"value\"");
    if (value.is_undefined()) run.fail("%s", value.undefined_message().c_str());
    if (!value.is(Kind::dict)) run.fail("dictsort needs a mapping, found %s", type_name(value));
    bool case_sensitive = bound.flag_or(0, false), backwards = bound.flag_or(2, false);
    auto items = value.dict().items;
    auto key = [&](const auto& item) {
        return without_case(run, by == "key" ? item.first : item.second, case_sensitive);
    };
    run.stable_sort(items, [&](const auto& a, const auto& b) {
        return backwards ? compare(run, key(b), key(a)) < 0 : compare(run, key(a), key(b)) < 0;
    });
    List pairs;
    for (auto& [name, held] : items) pairs.push_back(Value::of(List{name, held}, Kind::tuple));
    return Value::of(std::move(pairs));
}

Value unique(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "unique", arguments, {"case_sensitive", "attribute"}, 0);
    bool case_sensitive = bound.flag_or(0, false);
    auto path = attribute_path(run, bound.has(1) ? bound[1] : Value::none());
    return generator(
        [&run, next = run.iterate(value), path, case_sensitive,
         seen = List()](Value& item) mutable {
            while (next(item)) {
                Value key = without_case(run, follow(run, item, path), case_sensitive);
                if (!is_hashable(key)) run.fail("unhashable type: '%s'", type_name(key));
                run.charge((int64_t)seen.size() + 1);
                bool known = std::any_of(seen.begin(), seen.end(),
                                         [&](const Value& other) { return equal(other, key); });
                if (known) continue;
                seen.push_back(key);
                return true;
            }
            return false;
        },
        value.depth);
}

template <bool largest> Value extreme(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, largest ? "max" : "min", arguments, {"case_sensitive", "attribute"}, 0);
    bool case_sensitive = bound.flag_or(0, false), any = false;
    auto path = attribute_path(run, bound.has(1) ? bound[1] : Value::none());
    Value best = Value::undefined("No aggregated item, sequence was empty."), best_key;
    run.for_each(value, [&](const Value& item) {
        Value key = without_case(run, follow(run, item, path), case_sensitive);
        int order = any ? compare(run, key, best_key, largest ? ">" : "<") : 0;
        if (any && (largest ? order <= 0 : order >= 0)) return;
        any = true;
        best = item;
        best_key = key;
    });
    return best;
}

Value sum(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "sum", arguments, {"attribute", "start"}, 0);
    Value total = bound.given[1] ? bound[1] : Value::of(0);
    if (total.is_string()) run.fail("sum() can't sum strings [use ''.join(seq) instead]");
    bool by_attribute = bound.has(0);
    auto path = attribute_path(run, by_attribute ? bound[0] : Value::none());
    run.for_each(value, [&](const Value& item) {
        total = arithmetic(run, "+", total, by_attribute ? follow(run, item, path) : item);
    });
    return total;
}

Value batch(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "batch", arguments, {"linecount", "fill_with"}, 1);
    int64_t count = bound.integer_or(0, 0);
    List batches, now;
    run.for_each(value, [&](const Value& item) {
        if ((int64_t)now.size() == count) batches.push_back(Value::of(std::exchange(now, {})));
        now.push_back(item);
    });
    if (!now.empty()) {
        if (bound.has(1) && (int64_t)now.size() < count) {
            run.charge(count);
            now.resize((size_t)count, bound[1]);
        }
        batches.push_back(Value::of(std::move(now)));
    }
    return generator(run.iterate(Value::of(std::move(batches))), value.depth + 1);
}

Value slice(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "slice", arguments, {"slices", "fill_with"}, 1);
    List items = run.list_of(value), slices;
    int64_t count = bound.integer_or(0, 0), size = (int64_t)items.size(), at = 0;
    if (count == 0) run.fail("integer division or modulo by zero");
    run.charge(std::max<int64_t>(count, 0));
    for (int64_t i = 0; i < count; ++i) {
        int64_t length = size / count + (i < size % count);
        List part(items.begin() + at, items.begin() + at + length);
        at += length;
        if (bound.has(1) && i >= size % count) part.push_back(bound[1]);
        slices.push_back(Value::of(std::move(part)));
    }
    return generator(run.iterate(Value::of(std::move(slices))), value.depth + 1);
}

Value group_by(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
    auto path = attribute_path(run, bound[0]);
    const Value* missing = bound.has(1) ? &bound[1] : nullptr;
    bool case_sensitive = bound.flag_or(2, false);
    std::vector<std::pair<Value, Value>> keyed;
    run.for_each(value, [&](const Value& item) {
        keyed.emplace_back(without_case(run, follow(run, item, path, missing), case_sensitive),
                           item);
    });
    run.stable_sort(
        keyed, [&](const auto& a, const auto& b) { return compare(run, a.first, b.first) < 0; });
    List groups;
    for (size_t i = 0; i < keyed.size();) {
        List members;
        size_t begin = i;
        for (; i < keyed.size() && equal(keyed[i].first, keyed[begin].first); ++i)
            members.push_back(keyed[i].second);
        Value key = follow(run, members[0], path, missing); // in the case of the first member
        groups.push_back(Value::of(List{key, Value::of(std::move(members))}, Kind::tuple));
    }
    return Value::of(std::move(groups));
}

Value items(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "items", arguments, {}, 0);
    if (value.is_undefined()) return generator([](Value&) { return false; }, 0);
    if (!value.is(Kind::dict)) run.fail("Can only get item pairs from a mapping.");
    Value view = Value::of(View{std::static_pointer_cast<const Dict>(value.object), View::items},
                           value.depth);
    return generator(run.iterate(view), value.depth);
}

// ---- others --------------------------------------------------------------------------------------------

Value with_default(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "default", arguments, {"default_value", "boolean"}, 0);
    bool missing = value.is_undefined() || (bound.flag_or(1, false) && !run.test_truth(value));
    if (!missing) return value;
    return bound.given[0] ? bound[0] : Value::of("");
}

Value attribute(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "attr", arguments, {"name"}, 1);
    if (!bound[0].is_string()) run.fail("attr needs the name of an attribute");
    Value result;
    const std::string& name = bound[0].string();
    if (value.is_undefined()) run.fail("%s", value.undefined_message().c_str());
    if (value.is(Kind::name_space)) return run.attribute(value, name);
    if (python_attribute(run, value, name, result)) return result;
    return Value::undefined(std::string("'") + type_name(value) + " object' has no attribute " +
                            repr(name));
}

} // namespace

const Filters& sequence_filters() {
    static const Filters table = {
        {"attr", attribute},
        {"batch", batch},
        {"count", length},
        {"d", with_default},
        {"default", with_default},
        {"dictsort", dict_sorted},
        {"first", first},
        {"groupby", group_by},
        {"items", items},
        {"join", join},
        {"last", last},
        {"length", length},
        {"list", list},
        {"map", map},
        {"max", extreme<true>},
        {"min", extreme<false>},
        {"reject", choose<false, false>},
        {"rejectattr", choose<false, true>},
        {"reverse", reverse},
        {"select", choose<true, false>},
        {"selectattr", choose<true, true>},
        {"slice", slice},
        {"sort", sorted},
        {"sum", sum},
        {"unique", unique},
    };
    return table;
}

// Jinja's, and not made here: for web pages, or random.
static const std::unordered_set<std::string>& other_filters() {
    static const std::unordered_set<std::string> names = {"filesizeformat", "pprint",    "random",
                                                          "striptags",      "urlencode", "urlize",
                                                          "wordwrap",       "xmlattr"};
    return names;
}

static Filter find_filter(const std::string& name) {
    for (const Filters* table : {&sequence_filters(), &text_filters(), &number_filters()}) {
        auto found = table->find(name);
        if (found != table->end()) return found->second;
    }
    return nullptr;
}

bool is_filter(const std::string& name) { return find_filter(name) || other_filters().count(name); }

Value apply_filter(Run& run, const std::string& name, const Value& value, Arguments& arguments) {
    Filter filter = find_filter(name);
    if (!filter) {
        if (other_filters().count(name)) run.not_supported("the filter '" + name + "'");
        run.fail("there is no filter named '%s'", name.c_str());
    }
    run.charge(1);
    return filter(run, value, arguments);
}

} // namespace jinja
