#include "text/jinja/run.h"
#include "text/unicode.h"

// The functions that Jinja and transformers give to every template.

namespace jinja {

static Dict pairs_of(Run& run, Arguments& arguments) {
    Dict dict;
    if (arguments.positional.size() > 1)
        run.fail("dict expected at most 1 argument, got %zu", arguments.positional.size());
    if (!arguments.positional.empty()) {
        const Value& source = arguments.positional[0];
        if (source.is(Kind::dict)) {
            dict = source.dict();
            run.charge((int64_t)dict.items.size());
        } else {
            run.for_each(source, [&](const Value& item) {
                List pair = run.list_of(item);
                if (pair.size() != 2)
                    run.fail("dict() needs pairs, found a sequence of length %zu", pair.size());
                if (!is_hashable(pair[0])) run.fail("unhashable type: '%s'", type_name(pair[0]));
                run.charge((int64_t)dict.items.size() / 4);
                dict.set(pair[0], pair[1]);
            });
        }
    }
    for (auto& [key, value] : arguments.keywords) {
        run.charge((int64_t)dict.items.size() / 4);
        dict.set(Value::of(key), value);
    }
    return dict;
}

static Value make_range(Run& run, Arguments& arguments) {
    if (!arguments.keywords.empty()) run.fail("range() takes no keyword arguments");
    Bound bound(run, "range", arguments, {"start", "stop", "step"}, 1);
    Range range;
    if (bound.given[1]) {
        range.start = bound.integer_or(0, 0);
        range.stop = bound.integer_or(1, 0);
        range.step = bound.integer_or(2, 1);
    } else {
        range.stop = bound.integer_or(0, 0);
    }
    if (range.step == 0) run.fail("range() arg 3 must not be zero");
    const int64_t far = 1ll << 61;
    for (int64_t bound_value : {range.start, range.stop, range.step})
        if (bound_value > far || bound_value < -far)
            run.fail("an integer beyond 64 bits is not supported");
    if (range.size() > 100000)
        run.fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
    return Value::of(range);
}

// cycler(a, b, ...): one after the other, from the first again after the last.
static Value make_cycler(Run& run, Arguments& arguments) {
    if (!arguments.keywords.empty()) run.fail("cycler() takes no keyword arguments");
    if (arguments.positional.empty()) run.fail("at least one item has to be provided");
    struct State {
        List items;
        size_t at = 0;
    };
    auto state = std::make_shared<State>(State{arguments.positional, 0});
    Object object{"Cycler", {}, {}, {}, {}};
    object.attribute = [state](Run&, const std::string& name) {
        if (name == "current") return state->items[state->at];
        if (name == "next" || name == "reset")
            return Value::of(Function{name, [state, name](Run&, Arguments&) {
                                          Value now = state->items[state->at];
                                          bool next = name == "next";
                                          state->at =
                                              next ? (state->at + 1) % state->items.size() : 0;
                                          return next ? now : Value::none();
                                      }});
        return Value::undefined("'Cycler' object has no attribute '" + name + "'");
    };
    return Value::of(std::move(object), Value::of(arguments.positional).depth);
}

// joiner(sep): "" at the first call, then the separator.
static Value make_joiner(Run& run, Arguments& arguments) {
    Bound bound(run, "joiner", arguments, {"sep"}, 0);
    Value separator = bound.given[0] ? bound[0] : Value::of(", ");
    return Value::of(Function{"joiner",
                              [separator, used = std::make_shared<bool>(false)](Run&, Arguments&) {
                                  return std::exchange(*used, true) ? separator : Value::of("");
                              }},
                     separator.depth);
}

static Value time_text(Run& run, Arguments& arguments) {
    Bound bound(run, "strftime_now", arguments, {"format"}, 1);
    if (!bound[0].is_string())
        run.fail("strftime_now() needs a str, found %s", type_name(bound[0]));
    std::tm now{};
    std::time_t seconds = std::time(nullptr);
    if (run.now)
        now = *run.now;
    else
        localtime_r(&seconds, &now);
    // Of a clock without a time zone: what Python's strftime does with the three that C does otherwise.
    std::string format;
    const std::string& given = bound[0].string();
    for (size_t i = 0; i < given.size(); ++i) {
        char next = given[i] == '%' && i + 1 < given.size() ? given[i + 1] : 0;
        if (next == 'f') format += "000000";
        if (!next)
            format += given[i];
        else if (next != 'f' && next != 'z' && next != 'Z')
            format += std::string("%") + next;
        i += next != 0;
    }
    std::string text(format.size() * 64 + 64, 0);
    text.resize(std::strftime(text.data(), text.size(), format.c_str(), &now));
    return run.string(valid_utf8(text));
}

void add_globals(Run& run) {
    auto add = [&](const char* name, std::function<Value(Run&, Arguments&)> call) {
        run.globals.set(name, Value::of(Function{name, std::move(call)}));
    };
    add("range", make_range);
    add("dict",
        [](Run& caller, Arguments& arguments) { return Value::of(pairs_of(caller, arguments)); });
    add("namespace", [](Run& caller, Arguments& arguments) {
        return caller.make_namespace(pairs_of(caller, arguments));
    });
    add("cycler", make_cycler);
    // The template's {% block %}s, of which chat templates call none: every name is undefined.
    Object self{"TemplateReference", {}, {}, {}, {}};
    self.attribute = [](Run&, const std::string& name) {
        return Value::undefined("'TemplateReference' object has no attribute '" + name + "'");
    };
    run.globals.set("self", Value::of(std::move(self), 0));
    add("joiner", make_joiner);
    add("lipsum", [](Run& caller, Arguments&) -> Value { caller.not_supported("lipsum()"); });
    add("strftime_now", time_text);
    add("raise_exception", [](Run& caller, Arguments& arguments) -> Value {
        Bound bound(caller, "raise_exception", arguments, {"message"}, 1);
        caller.fail("the template raises: %s", str(caller, bound[0]).c_str());
    });
}

} // namespace jinja
