#include "text/jinja/run.h"

#include <algorithm>

namespace jinja {

namespace {

enum class Flow { normal, break_, continue_ };

Value evaluate(Run& run, Scope& scope, const Node& node);
Flow execute(Run& run, Scope& scope, const Node& node);

// ---- scopes and output ---------------------------------------------------------------------------------

// A scope inside of another one while it lives; one that a macro holds on to is handed to the run.
struct Inner {
    Run& run;
    std::unique_ptr<Scope> scope = std::make_unique<Scope>();
    Inner(Run& owner, Scope& parent, const Node& opener) : run(owner) {
        scope->parent = &parent;
        for (const std::string& name : opener.hidden)
            scope->set(name, Value::undefined("'" + name + "' is undefined"));
    }
    ~Inner() {
        if (scope->captured) run.kept.push_back(std::move(scope));
    }
    Scope& operator*() { return *scope; }
};

void capture_scopes(Scope& scope) {
    for (Scope* each = &scope; each && !each->captured; each = each->parent) each->captured = true;
}

// What `write` writes, instead of the output.
template <class Write> std::string captured_text(Run& run, Write write) {
    std::string text;
    struct Restore {
        std::string*& sink;
        std::string* old;
        ~Restore() { sink = old; }
    } restore{run.sink, std::exchange(run.sink, &text)};
    write();
    return text;
}

void write(Run& run, std::string_view text) {
    run.charge((int64_t)text.size() + 1);
    run.check_size(run.sink->size() + text.size());
    run.sink->append(text);
}

// ---- expressions ---------------------------------------------------------------------------------------

Arguments arguments_of(Run& run, Scope& scope, const Node& node) {
    Arguments arguments;
    for (const NodePtr& argument : node.arguments)
        arguments.positional.push_back(evaluate(run, scope, *argument));
    if (node.more_arguments)
        run.for_each(evaluate(run, scope, *node.more_arguments),
                     [&](const Value& item) { arguments.positional.push_back(item); });
    for (auto& [key, value] : node.keywords)
        arguments.keywords.emplace_back(key, evaluate(run, scope, *value));
    if (node.more_keywords) {
        Value more = evaluate(run, scope, *node.more_keywords);
        if (!more.is(Kind::dict))
            run.fail("argument after ** must be a mapping, not %s", type_name(more));
        for (auto& [key, value] : more.dict().items) {
            if (!key.is_string()) run.fail("keywords must be strings");
            arguments.keywords.emplace_back(key.string(), value);
        }
    }
    run.line = node.line;
    return arguments;
}

bool compared(Run& run, const std::string& sign, const Value& left, const Value& right) {
    run.charge(1);
    if (sign == "==") return equal(left, right);
    if (sign == "!=") return !equal(left, right);
    if (sign == "in") return run.contains(right, left);
    if (sign == "not in") return !run.contains(right, left);
    int order = compare(run, left, right, sign.c_str());
    bool unordered = (left.is(Kind::real) && left.real != left.real) ||
                     (right.is(Kind::real) && right.real != right.real);
    if (unordered) return false;
    return sign == "<"    ? order < 0
           : sign == "<=" ? order <= 0
           : sign == ">"  ? order > 0
                          : order >= 0;
}

Value evaluate_compare(Run& run, Scope& scope, const Node& node) {
    Value left = evaluate(run, scope, *node.parts[0]);
    for (size_t i = 0; i < node.names.size(); ++i) {
        Value right = evaluate(run, scope, *node.parts[i + 1]);
        run.line = node.line;
        if (!compared(run, node.names[i], left, right)) return Value::of(false);
        left = std::move(right);
    }
    return Value::of(true);
}

Value evaluate_dict(Run& run, Scope& scope, const Node& node) {
    Dict dict;
    for (size_t i = 0; i < node.parts.size(); i += 2) {
        Value key = evaluate(run, scope, *node.parts[i]);
        Value value = evaluate(run, scope, *node.parts[i + 1]);
        if (!is_hashable(key)) run.fail("unhashable type: '%s'", type_name(key));
        run.charge((int64_t)dict.items.size() / 4);
        dict.set(key, value);
    }
    return Value::of(std::move(dict));
}

Value evaluate_parts(Run& run, Scope& scope, const Node& node, Kind kind) {
    List list;
    for (const NodePtr& part : node.parts) list.push_back(evaluate(run, scope, *part));
    return Value::of(std::move(list), kind);
}

Value evaluate_conditional(Run& run, Scope& scope, const Node& node) {
    if (run.test_truth(evaluate(run, scope, *node.parts[0])))
        return evaluate(run, scope, *node.parts[1]);
    if (node.parts[2]) return evaluate(run, scope, *node.parts[2]);
    return Value::undefined(format("the inline if-expression on line %d evaluated to false and no "
                                   "else section was defined.",
                                   node.line));
}

Value evaluate_here(Run& run, Scope& scope, const Node& node) {
    auto part = [&](size_t i) { return evaluate(run, scope, *node.parts[i]); };
    switch (node.op) {
    case Op::constant:
        return node.value;
    case Op::name: {
        const Value* found = scope.find(node.text);
        return found ? *found : Value::undefined("'" + node.text + "' is undefined");
    }
    case Op::list:
        return evaluate_parts(run, scope, node, Kind::list);
    case Op::tuple:
        return evaluate_parts(run, scope, node, Kind::tuple);
    case Op::dict:
        return evaluate_dict(run, scope, node);
    case Op::attribute: {
        Value value = part(0);
        run.line = node.line;
        return run.attribute(value, node.text);
    }
    case Op::item: {
        Value value = part(0), key = part(1);
        run.line = node.line;
        return run.item(value, key);
    }
    case Op::slice: {
        Value bounds[4];
        for (int i = 0; i < 4; ++i) bounds[i] = node.parts[i] ? part(i) : Value::none();
        run.line = node.line;
        return run.slice(bounds[0], bounds[1], bounds[2], bounds[3]);
    }
    case Op::call: {
        Value function = part(0);
        Arguments arguments = arguments_of(run, scope, node);
        return run.call(function, arguments);
    }
    case Op::filter: {
        Value value = part(0);
        Arguments arguments = arguments_of(run, scope, node);
        return apply_filter(run, node.text, value, arguments);
    }
    case Op::test: {
        Value value = part(0);
        Arguments arguments = arguments_of(run, scope, node);
        return Value::of(apply_test(run, node.text, value, arguments));
    }
    case Op::negate:
        return negate(run, part(0));
    case Op::plus: {
        Value value = part(0);
        if (value.is_undefined()) run.fail("%s", value.undefined_message().c_str());
        if (!value.is_number()) run.fail("bad operand type for unary +: '%s'", type_name(value));
        return value.is(Kind::boolean) ? Value::of(value.as_integer()) : value;
    }
    case Op::logical_not:
        return Value::of(!run.test_truth(part(0)));
    case Op::logical_and: {
        Value left = part(0);
        return run.test_truth(left) ? part(1) : left;
    }
    case Op::logical_or: {
        Value left = part(0);
        return run.test_truth(left) ? left : part(1);
    }
    case Op::conditional:
        return evaluate_conditional(run, scope, node);
    case Op::compare:
        return evaluate_compare(run, scope, node);
    case Op::arithmetic: {
        Value left = part(0), right = part(1);
        run.line = node.line;
        return arithmetic(run, node.text, left, right);
    }
    case Op::concat: {
        std::string text;
        for (size_t i = 0; i < node.parts.size(); ++i) text += str(run, part(i));
        return run.string(std::move(text));
    }
    default:
        run.fail("this is no expression");
    }
}

Value evaluate(Run& run, Scope& scope, const Node& node) {
    Run::Deeper deeper(run);
    run.charge(1);
    run.line = node.line;
    return evaluate_here(run, scope, node);
}

// ---- assignment ----------------------------------------------------------------------------------------

void assign(Run& run, Scope& scope, const Node& target, const Value& value) {
    if (target.op == Op::name) return scope.set(target.text, value);
    if (target.op == Op::namespace_attribute) {
        const Value* found = scope.find(target.text);
        if (!found || !found->is(Kind::name_space))
            run.fail("cannot assign attribute on non-namespace object (%s)", target.text.c_str());
        if (target.names[0].rfind("_", 0) == 0)
            run.fail("a namespace may not have an attribute that begins with an underscore: %s",
                     target.names[0].c_str());
        Dict& attributes = found->as<Dict>();
        run.charge((int64_t)attributes.items.size() / 4);
        attributes.set(Value::of(target.names[0]), value);
        return;
    }
    List items = run.list_of(value);
    if (items.size() != target.parts.size())
        run.fail(items.size() < target.parts.size()
                     ? "not enough values to unpack (expected %zu, got %zu)"
                     : "too many values to unpack (expected %zu, got %zu)",
                 target.parts.size(), items.size());
    for (size_t i = 0; i < items.size(); ++i) assign(run, scope, *target.parts[i], items[i]);
}

// ---- macros --------------------------------------------------------------------------------------------

// Parameters: `names`, of which the last ones have defaults (`keywords`).
Value macro_of(Scope& scope, const Node& node, const std::string& name) {
    capture_scopes(scope);
    const Node* macro = &node;
    Scope* outer = &scope;
    auto call = [macro, outer, name](Run& caller, Arguments& given) {
        Inner inner(caller, *outer, *macro);
        auto keyword = [&](const std::string& key) {
            return std::find_if(given.keywords.begin(), given.keywords.end(),
                                [&](auto& pair) { return pair.first == key; });
        };
        size_t count = macro->names.size();
        bool has_caller = false;
        std::vector<bool> missing(count);
        for (size_t i = 0; i < count; ++i) {
            const std::string& parameter = macro->names[i];
            has_caller |= parameter == "caller";
            auto found = keyword(parameter);
            if (i < given.positional.size()) {
                (*inner).set(parameter, given.positional[i]);
            } else if (found != given.keywords.end()) {
                (*inner).set(parameter, found->second);
                given.keywords.erase(found);
            } else {
                missing[i] = true;
                (*inner).set(parameter,
                             Value::undefined("parameter '" + parameter + "' was not provided"));
            }
        }
        if (macro->uses_caller && !has_caller) {
            auto found = keyword("caller");
            bool none = found == given.keywords.end() || found->second.is(Kind::none);
            (*inner).set("caller", none ? Value::undefined("No caller defined") : found->second);
            if (found != given.keywords.end()) given.keywords.erase(found);
        }
        if (macro->uses_kwargs) {
            Dict rest;
            for (auto& [key, value] : given.keywords) rest.set(Value::of(key), value);
            (*inner).set("kwargs", Value::of(std::move(rest)));
        } else if (!given.keywords.empty()) {
            caller.fail("macro '%s' takes no keyword argument '%s'", name.c_str(),
                        given.keywords[0].first.c_str());
        }
        if (macro->uses_varargs) {
            List rest;
            for (size_t i = count; i < given.positional.size(); ++i)
                rest.push_back(given.positional[i]);
            (*inner).set("varargs", Value::of(std::move(rest), Kind::tuple));
        } else if (given.positional.size() > count) {
            caller.fail("macro '%s' takes not more than %zu argument(s)", name.c_str(), count);
        }
        size_t first_default = count - macro->keywords.size();
        for (size_t i = first_default; i < count; ++i)
            if (missing[i])
                (*inner).set(macro->names[i],
                             evaluate(caller, *inner, *macro->keywords[i - first_default].second));
        std::string text =
            captured_text(caller, [&] { execute(caller, *inner, *macro->parts[0]); });
        caller.line = macro->line;
        return caller.string(std::move(text));
    };
    return Value::of(Function{name, call});
}

// ---- loops ---------------------------------------------------------------------------------------------

struct LoopState {
    std::function<bool(Value&)> next;
    Value current, before, after, changed;
    bool has_after = false, has_changed = false;
    int64_t index0 = -1, length = -1;
    int depth0 = 0;

    bool peek() {
        if (!has_after) has_after = next(after);
        return has_after;
    }
    bool advance() {
        Value item;
        if (has_after) {
            item = std::move(after);
            has_after = false;
        } else if (!next(item)) {
            return false;
        }
        ++index0;
        before = std::move(current);
        current = std::move(item);
        return true;
    }
    // What has no length is read to its end to find one.
    int64_t count(Run& run) {
        if (length >= 0) return length;
        List rest;
        Value item;
        while (next(item)) {
            run.charge(1);
            rest.push_back(item);
        }
        length = (int64_t)rest.size() + index0 + 1 + has_after;
        next = run.iterate(Value::of(std::move(rest)));
        return length;
    }
};

Flow loop_over(Run& run, Scope& scope, const Node& node, const Value& iterable, int depth0);

Value loop_attribute(Run& run, const std::shared_ptr<LoopState>& loop, const std::string& name) {
    if (name == "index") return Value::of(loop->index0 + 1);
    if (name == "index0") return Value::of(loop->index0);
    if (name == "first") return Value::of(loop->index0 == 0);
    if (name == "last") return Value::of(!loop->peek());
    if (name == "length") return Value::of(loop->count(run));
    if (name == "revindex") return Value::of(loop->count(run) - loop->index0);
    if (name == "revindex0") return Value::of(loop->count(run) - loop->index0 - 1);
    if (name == "depth") return Value::of(loop->depth0 + 1);
    if (name == "depth0") return Value::of(loop->depth0);
    if (name == "previtem")
        return loop->index0 == 0 ? Value::undefined("there is no previous item") : loop->before;
    if (name == "nextitem")
        return loop->peek() ? loop->after : Value::undefined("there is no next item");
    if (name == "cycle")
        return Value::of(Function{name, [loop](Run& caller, Arguments& arguments) {
                                      const List& items = arguments.positional;
                                      if (items.empty()) caller.fail("no items for cycling given");
                                      return items[loop->index0 % (int64_t)items.size()];
                                  }});
    if (name == "changed")
        return Value::of(Function{name, [loop](Run&, Arguments& arguments) {
                                      Value now = Value::of(arguments.positional, Kind::tuple);
                                      bool changed =
                                          !loop->has_changed || !equal(now, loop->changed);
                                      loop->changed = now;
                                      loop->has_changed = true;
                                      return Value::of(changed);
                                  }});
    return Value::undefined("'LoopContext' object has no attribute '" + name + "'");
}

Value loop_object(Scope& scope, const Node& node, const std::shared_ptr<LoopState>& loop,
                  int inner_depth) {
    if (node.recursive) capture_scopes(scope);
    Object object{"LoopContext", {}, {}, {}, {}};
    object.attribute = [loop](Run& caller, const std::string& name) {
        return loop_attribute(caller, loop, name);
    };
    object.length = [loop](Run& caller) { return loop->count(caller); };
    object.call = [loop, &node, &scope](Run& caller, Arguments& arguments) {
        if (!node.recursive) caller.fail("the loop must have the 'recursive' marker to be called");
        if (arguments.positional.size() != 1) caller.fail("loop() takes one argument");
        std::string text = captured_text(caller, [&] {
            loop_over(caller, scope, node, arguments.positional[0], loop->depth0 + 1);
        });
        return caller.string(std::move(text));
    };
    return Value::of(std::move(object), inner_depth);
}

Flow loop_over(Run& run, Scope& scope, const Node& node, const Value& iterable, int depth0) {
    const Node &target = *node.parts[0], &body = *node.parts[3];
    auto loop = std::make_shared<LoopState>();
    loop->depth0 = depth0;
    run.line = node.line;
    loop->next = run.iterate(iterable);
    if (const Node* condition = node.parts[2].get()) {
        auto all = loop->next;
        loop->next = [&run, &scope, &target, condition, all](Value& item) {
            while (all(item)) {
                run.charge(1);
                Inner inner(run, scope, *condition);
                assign(run, *inner, target, item);
                if (run.test_truth(evaluate(run, *inner, *condition))) return true;
            }
            return false;
        };
    } else if (!iterable.is(Kind::iterator)) {
        loop->length = run.length_of(iterable);
    }
    Value object = loop_object(scope, node, loop, iterable.depth);
    bool finished_a_round = false;
    while (loop->advance()) {
        run.charge(1);
        Inner inner(run, scope, node);
        (*inner).set("loop", object);
        assign(run, *inner, target, loop->current);
        Flow flow = execute(run, *inner, body);
        if (flow == Flow::break_) break;
        finished_a_round |= flow == Flow::normal;
    }
    // As Jinja compiles it, a round that ends by break or continue does not count.
    if (finished_a_round || !node.parts[4]) return Flow::normal;
    Inner inner(run, scope, *node.parts[4]);
    return execute(run, *inner, *node.parts[4]);
}

// ---- statements ----------------------------------------------------------------------------------------

Value through_filters(Run& run, Scope& scope, const Node& filter, Value value) {
    if (filter.parts[0]) value = through_filters(run, scope, *filter.parts[0], std::move(value));
    Arguments arguments = arguments_of(run, scope, filter);
    return apply_filter(run, filter.text, value, arguments);
}

void execute_generation(Run& run, Scope& scope, const Node& node) {
    Inner inner(run, scope, node);
    size_t begin = run.sink->size();
    bool displaced = run.sink != &run.rendered.text;
    std::string text = captured_text(run, [&] {
        // A block inside of this one adds nothing to what is marked.
        size_t outer = run.rendered.generations.size();
        int old_displaced = run.rendered.displaced_generation;
        execute(run, *inner, *node.parts[0]);
        run.rendered.generations.resize(outer);
        run.rendered.displaced_generation = old_displaced;
    });
    write(run, text);
    if (displaced)
        run.rendered.displaced_generation = node.line;
    else
        run.rendered.generations.push_back({begin, run.sink->size()});
}

Flow execute_here(Run& run, Scope& scope, const Node& node) {
    switch (node.op) {
    case Op::block:
        for (const NodePtr& part : node.parts) {
            Flow flow = execute(run, scope, *part);
            if (flow != Flow::normal) return flow;
        }
        return Flow::normal;
    case Op::data:
        write(run, node.text);
        return Flow::normal;
    case Op::output:
        for (const NodePtr& part : node.parts) write(run, str(run, evaluate(run, scope, *part)));
        return Flow::normal;
    case Op::if_:
        if (run.test_truth(evaluate(run, scope, *node.parts[0])))
            return execute(run, scope, *node.parts[1]);
        return node.parts[2] ? execute(run, scope, *node.parts[2]) : Flow::normal;
    case Op::for_: {
        Value iterable = evaluate(run, scope, *node.parts[1]);
        if (!node.recursive) return loop_over(run, scope, node, iterable, 0);
        write(run, captured_text(run, [&] { loop_over(run, scope, node, iterable, 0); }));
        return Flow::normal;
    }
    case Op::break_:
        return Flow::break_;
    case Op::continue_:
        return Flow::continue_;
    case Op::set: {
        Value value = evaluate(run, scope, *node.parts[1]);
        run.line = node.line;
        assign(run, scope, *node.parts[0], value);
        return Flow::normal;
    }
    case Op::set_block: {
        Inner inner(run, scope, node);
        Value value = run.string(captured_text(run, [&] { execute(run, *inner, *node.parts[2]); }));
        if (node.parts[1]) value = through_filters(run, *inner, *node.parts[1], std::move(value));
        assign(run, scope, *node.parts[0], value);
        return Flow::normal;
    }
    case Op::macro:
        scope.set(node.text, macro_of(scope, node, node.text));
        return Flow::normal;
    case Op::call_block: {
        Value caller = macro_of(scope, node, "caller");
        const Node& call = *node.parts[1];
        Value function = evaluate(run, scope, *call.parts[0]);
        Arguments arguments = arguments_of(run, scope, call);
        arguments.keywords.emplace_back("caller", caller);
        write(run, str(run, run.call(function, arguments)));
        return Flow::normal;
    }
    case Op::filter_block: {
        Inner inner(run, scope, node);
        Value value = run.string(captured_text(run, [&] { execute(run, *inner, *node.parts[1]); }));
        write(run, str(run, through_filters(run, *inner, *node.parts[0], std::move(value))));
        return Flow::normal;
    }
    case Op::with: {
        Inner inner(run, scope, node);
        for (size_t i = 1; i < node.parts.size(); i += 2)
            assign(run, *inner, *node.parts[i], evaluate(run, scope, *node.parts[i + 1]));
        return execute(run, *inner, *node.parts[0]);
    }
    case Op::generation:
        execute_generation(run, scope, node);
        return Flow::normal;
    case Op::named_block: {
        Inner inner(run, run.root, node);
        execute(run, *inner, *node.parts[0]);
        return Flow::normal;
    }
    default:
        run.fail("this is no statement");
    }
}

Flow execute(Run& run, Scope& scope, const Node& node) {
    Run::Deeper deeper(run);
    run.charge(1);
    run.line = node.line;
    return execute_here(run, scope, node);
}

bool finds(const Node* node, const std::function<bool(const Node&)>& test) {
    if (!node) return false;
    if (test(*node)) return true;
    for (const NodePtr& part : node->parts)
        if (finds(part.get(), test)) return true;
    for (const NodePtr& part : node->arguments)
        if (finds(part.get(), test)) return true;
    for (auto& [key, part] : node->keywords)
        if (finds(part.get(), test)) return true;
    return finds(node->more_arguments.get(), test) || finds(node->more_keywords.get(), test);
}

} // namespace

} // namespace jinja

JinjaTemplate JinjaTemplate::parse(const std::string& source, const std::string& where) {
    JinjaTemplate made;
    made.where = where;
    made.root = jinja::parse_template(source, where);
    made.marks_generation = jinja::finds(
        made.root.get(), [](const jinja::Node& node) { return node.op == jinja::Op::generation; });
    made.reads_clock = jinja::finds(made.root.get(), [](const jinja::Node& node) {
        return node.op == jinja::Op::name && node.text == "strftime_now";
    });
    return made;
}

JinjaOutput JinjaTemplate::render(const Json& variables, const std::optional<std::tm>& now,
                                  const JinjaLimits& limits) const {
    CHECK(variables.is_object(), "%s: the variables of a chat template must be an object",
          where.c_str());
    jinja::Run run(where, limits);
    run.now = now;
    jinja::add_globals(run);
    for (auto& [name, value] : variables.items())
        run.globals.set(name, jinja::Value::from_json(value));
    run.root.parent = &run.globals;
    for (const std::string& name : root->hidden)
        run.root.set(name, jinja::Value::undefined("'" + name + "' is undefined"));
    jinja::execute(run, run.root, *root);
    return std::move(run.rendered);
}
