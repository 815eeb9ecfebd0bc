#include "text/jinja/filters.h"
#include "text/jinja/python_text.h"

// The filters of text, with tojson as transformers has it.

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

Value apply_method(Run& run, const Value& value, const char* name, Arguments& arguments) {
    // soft_str: markup stays markup
    Value text = value.is_string() ? value : run.string(str(run, value));
    return run.call(run.attribute(text, name), arguments);
}

template <const char* const& name>
Value method(Run& run, const Value& value, Arguments& arguments) {
    return apply_method(run, value, name, arguments);
}

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

} // namespace

const Filters& text_filters() {
    static const Filters table = {
        {"capitalize", method<capitalize_name>},
        {"center", center},
        {"e", escape},
        {"escape", escape},
        {"forceescape", force_escape},
        {"format", format_filter},
        {"indent", indent},
        {"lower", method<lower_name>},
        {"replace", replace},
        {"safe", safe},
        {"string", text},
        {"title", title},
        {"tojson", to_json_filter},
        {"trim", method<trim_name>},
        {"truncate", truncate},
        {"upper", method<upper_name>},
        {"wordcount", word_count},
    };
    return table;
}

} // namespace jinja
