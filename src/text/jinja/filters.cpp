#include "text/jinja/python_text.h"
#include "text/jinja/run.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_set>

// The filters and tests of Jinja 3.1, with transformers' tojson.

namespace jinja {

std::string escape_html(std::string_view text) {
    std::string out;
    for (char c : text) {
        if (c == '&')
            out += "&amp;";
        else if (c == '<')
            out += "&lt;";
        else if (c == '>')
            out += "&gt;";
        else if (c == '\'')
            out += "&#39;";
        else if (c == '"')
            out += "&#34;";
        else
            out += c;
    }
    return out;
}

std::string str_escaped(Run& run, const Value& value) {
    std::string text = str(run, value);
    return value.is_string() && value.markup ? text : escape_html(text);
}

namespace {

using Filter = Value (*)(Run&, const Value&, Arguments&);

Value apply_method(Run& run, const Value& value, const char* name, Arguments& arguments) {
    // soft_str: markup stays markup
    Value text = value.is_string() ? value : run.string(str(run, value));
    return run.call(run.attribute(text, name), arguments);
}

template <const char* const& name>
Value method(Run& run, const Value& value, Arguments& arguments) {
    return apply_method(run, value, name, arguments);
}

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

// ---- text ----------------------------------------------------------------------------------------------

Value replace(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "replace", arguments, {"old", "new", "count"}, 2);
    Arguments plain;
    plain.positional = {run.string(str(run, bound[0])), run.string(str(run, bound[1]))};
    if (bound.has(2)) plain.positional.push_back(bound[2]);
    return run.call(run.attribute(run.string(str(run, value)), "replace"), plain);
}

// A capital behind spaces, hyphens and opening brackets: not str.title().
Value title(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "title", arguments, {}, 0);
    std::string text = str(run, value), out;
    std::string word;
    auto finish = [&] {
        if (word.empty()) return;
        size_t behind = 0;
        next_code_point(word, behind);
        out += python::upper(word.substr(0, behind)) + python::lower(word.substr(behind));
        word.clear();
    };
    for (const std::string& character : python::characters(text)) {
        size_t behind = 0;
        int32_t c = next_code_point(character, behind);
        bool separates =
            c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || python::is_space(c);
        if (separates) {
            finish();
            out += character;
        } else {
            word += character;
        }
    }
    finish();
    return run.string(std::move(out), value.is_string() && value.markup);
}

Value text(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "string", arguments, {}, 0);
    return value.is_string() ? value : run.string(str(run, value));
}

Value safe(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "safe", arguments, {}, 0);
    return run.string(str(run, value), true);
}

Value escape(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "escape", arguments, {}, 0);
    return run.string(str_escaped(run, value), true);
}

Value force_escape(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "forceescape", arguments, {}, 0);
    return run.string(escape_html(str(run, value)), true);
}

Value indent(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "indent", arguments, {"width", "first", "blank"}, 0);
    if (value.is_undefined()) run.fail("%s", value.undefined_message().c_str());
    if (!value.is_string())
        run.fail("unsupported operand type(s) for +=: '%s' and 'str'", type_name(value));
    std::string indention;
    if (bound.given[0] && bound[0].is_string()) {
        indention = bound[0].string();
    } else {
        int64_t width = std::max<int64_t>(bound.integer_or(0, 4), 0);
        run.charge(width);
        run.check_size((size_t)width);
        indention.assign((size_t)width, ' ');
    }
    bool first = bound.flag_or(1, false), blank = bound.flag_or(2, false);
    std::string out;
    bool any = false;
    for (const std::string& line : python::split_lines(value.string() + "\n", false)) {
        if (any) out += "\n";
        if (any ? blank || !line.empty() : first) out += indention;
        any = true;
        out += line;
        run.check_size(out.size());
        run.charge((int64_t)indention.size());
    }
    return run.string(std::move(out), value.markup);
}

Value truncate(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "truncate", arguments, {"length", "killwords", "end", "leeway"}, 0);
    if (!value.is_string()) run.fail("truncate needs a string, found %s", type_name(value));
    int64_t size = bound.integer_or(0, 255), leeway = bound.has(3) ? bound.integer_or(3, 5) : 5;
    std::string end = bound.text_or(2, "...");
    const std::string& whole = value.string();
    if (size < python::length(end) || leeway < 0)
        run.fail("truncate: the length must be at least that of the end, the leeway at least 0");
    if (python::length(whole) <= size + leeway) return value;
    std::string cut = whole.substr(0, python::position(whole, size - python::length(end)));
    if (!bound.flag_or(1, false)) cut = python::split(cut, " ", 1, true)[0];
    return run.string(cut + end);
}

Value word_count(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "wordcount", arguments, {}, 0);
    std::string whole = str(run, value);
    int64_t count = 0;
    bool inside = false;
    for (size_t at = 0; at < whole.size();) {
        int32_t c = next_code_point(whole, at);
        bool word = c == '_' || python::is_letter(c) || is_number(c);
        count += word && !inside;
        inside = word;
    }
    return Value::of(count);
}

Value format_filter(Run& run, const Value& value, Arguments& arguments) {
    if (!arguments.positional.empty() && !arguments.keywords.empty())
        run.fail("can't handle positional and keyword arguments at the same time");
    if (value.is_string() && value.markup) run.not_supported("|format of text marked as safe");
    Value given = Value::of(arguments.positional, Kind::tuple);
    if (!arguments.keywords.empty()) {
        Dict named;
        for (auto& [key, item] : arguments.keywords) named.set(Value::of(key), item);
        given = Value::of(std::move(named));
    }
    return run.string(percent_format(run, str(run, value), given));
}

Value to_json_filter(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0);
    JsonStyle style;
    style.ascii = bound.flag_or(0, false);
    style.sort_keys = bound.flag_or(3, false);
    if (bound.has(1)) {
        style.indented = true;
        style.item_separator = ",";
        if (bound[1].is_string()) {
            style.indent = bound[1].string();
        } else {
            int64_t width = bound.integer_or(1, 0);
            if (width > 1000) run.fail("tojson: an indent of more than 1000");
            style.indent.assign((size_t)std::max<int64_t>(width, 0), ' ');
        }
    }
    if (bound.has(2)) {
        List pair = run.list_of(bound[2]);
        if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string())
            run.fail("tojson: separators must be two strings");
        style.item_separator = pair[0].string();
        style.key_separator = pair[1].string();
    }
    return run.string(to_json(run, value, style));
}

// ---- numbers -------------------------------------------------------------------------------------------

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

constexpr const char* upper_name = "upper";
constexpr const char* lower_name = "lower";
constexpr const char* capitalize_name = "capitalize";
constexpr const char* trim_name = "strip";

Value center(Run& run, const Value& value, Arguments& arguments) {
    Bound bound(run, "center", arguments, {"width"}, 0);
    Arguments width;
    width.positional = {Value::of(bound.integer_or(0, 80))};
    return apply_method(run, value, "center", width);
}

const std::map<std::string, Filter>& filters() {
    static const std::map<std::string, Filter> table = {
        {"abs", absolute},
        {"attr", attribute},
        {"batch", batch},
        {"capitalize", method<capitalize_name>},
        {"center", center},
        {"count", length},
        {"d", with_default},
        {"default", with_default},
        {"dictsort", dict_sorted},
        {"e", escape},
        {"escape", escape},
        {"first", first},
        {"float", to_real},
        {"forceescape", force_escape},
        {"format", format_filter},
        {"groupby", group_by},
        {"indent", indent},
        {"int", to_integer},
        {"items", items},
        {"join", join},
        {"last", last},
        {"length", length},
        {"list", list},
        {"lower", method<lower_name>},
        {"map", map},
        {"max", extreme<true>},
        {"min", extreme<false>},
        {"reject", choose<false, false>},
        {"rejectattr", choose<false, true>},
        {"replace", replace},
        {"reverse", reverse},
        {"round", round},
        {"safe", safe},
        {"select", choose<true, false>},
        {"selectattr", choose<true, true>},
        {"slice", slice},
        {"sort", sorted},
        {"string", text},
        {"sum", sum},
        {"title", title},
        {"tojson", to_json_filter},
        {"trim", method<trim_name>},
        {"truncate", truncate},
        {"unique", unique},
        {"upper", method<upper_name>},
        {"wordcount", word_count},
    };
    return table;
}

// Jinja's, and not made here: for web pages, or random.
const std::unordered_set<std::string>& other_filters() {
    static const std::unordered_set<std::string> names = {"filesizeformat", "pprint",    "random",
                                                          "striptags",      "urlencode", "urlize",
                                                          "wordwrap",       "xmlattr"};
    return names;
}

// ---- tests ---------------------------------------------------------------------------------------------

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

bool is_filter(const std::string& name) {
    return filters().count(name) || other_filters().count(name);
}
bool is_test(const std::string& name) { return tests().count(name); }

Value apply_filter(Run& run, const std::string& name, const Value& value, Arguments& arguments) {
    auto found = filters().find(name);
    if (found == filters().end()) {
        if (other_filters().count(name)) run.not_supported("the filter '" + name + "'");
        run.fail("there is no filter named '%s'", name.c_str());
    }
    run.charge(1);
    return found->second(run, value, arguments);
}

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
