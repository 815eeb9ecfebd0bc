#include "text/jinja/syntax.h"

#include <map>
#include <set>

// What Jinja settles about names before a template runs. A name that a scope sets (outside of any
// condition) before it reads it belongs to that scope from the start: there it is undefined until it is
// set, even if the caller of the template gave a value of that name. A name that is first read, or that
// only some branch of a condition sets, begins with the value from outside.

namespace jinja {

namespace {

enum class Load { parameter, from_outside, undefined };

struct Symbols {
    const Symbols* parent = nullptr;
    std::set<std::string> known, stored;
    std::map<std::string, Load> loads;

    bool knows(const std::string& name) const {
        return known.count(name) || (parent && parent->knows(name));
    }
    void define(const std::string& name, Load load) {
        known.insert(name);
        loads[name] = load;
    }
    void load(const std::string& name) {
        if (!knows(name)) define(name, Load::from_outside);
    }
    void store(const std::string& name) {
        stored.insert(name);
        if (known.count(name)) return;
        bool outside = parent && parent->knows(name);
        define(name, outside ? Load::from_outside : Load::undefined);
    }
    void parameter(const std::string& name) {
        stored.insert(name);
        define(name, Load::parameter);
    }
    void join(const std::vector<Symbols>& branches) {
        std::set<std::string> sometimes;
        for (const Symbols& branch : branches)
            for (const std::string& name : branch.stored)
                if (!stored.count(name)) sometimes.insert(name);
        for (const Symbols& branch : branches) {
            known.insert(branch.known.begin(), branch.known.end());
            stored.insert(branch.stored.begin(), branch.stored.end());
            for (auto& [name, load] : branch.loads) loads[name] = load;
        }
        for (const std::string& name : sometimes) loads[name] = Load::from_outside;
    }
};

struct Analysis {
    const std::string& where;
    int depth = 0;

    struct Level {
        Analysis& analysis;
        Level(Analysis& owner, const Node& node) : analysis(owner) {
            if (++analysis.depth > 400)
                fail_at(analysis.where, node.line, "the template is nested too deep");
        }
        ~Level() { --analysis.depth; }
    };

    template <class Visit> static void each_child(Node& node, Visit visit) {
        for (NodePtr& part : node.parts)
            if (part) visit(*part);
        for (NodePtr& part : node.arguments) visit(*part);
        for (auto& [key, part] : node.keywords) visit(*part);
        if (node.more_arguments) visit(*node.more_arguments);
        if (node.more_keywords) visit(*node.more_keywords);
    }

    static void targets(Node& target, const std::function<void(const std::string&)>& visit) {
        if (target.op == Op::name) visit(target.text);
        if (target.op == Op::tuple)
            for (NodePtr& part : target.parts) targets(*part, visit);
    }
    static void store(Symbols& symbols, Node& target) {
        if (target.op == Op::namespace_attribute) symbols.load(target.text);
        if (target.op == Op::tuple)
            for (NodePtr& part : target.parts)
                if (part->op == Op::namespace_attribute) symbols.load(part->text);
        targets(target, [&](const std::string& name) { symbols.store(name); });
    }
    static void parameters(Symbols& symbols, Node& target) {
        targets(target, [&](const std::string& name) { symbols.parameter(name); });
    }

    // The names of one scope; scopes inside of it are not entered.
    void collect(Symbols& symbols, Node& node) {
        Level level(*this, node);
        auto into = [&](Node& child) { collect(symbols, child); };
        switch (node.op) {
        case Op::name:
            symbols.load(node.text);
            return;
        case Op::if_: {
            into(*node.parts[0]);
            std::vector<Symbols> branches(2, symbols);
            collect(branches[0], *node.parts[1]);
            if (node.parts[2]) collect(branches[1], *node.parts[2]);
            symbols.join(branches);
            return;
        }
        case Op::macro:
            symbols.store(node.text);
            return;
        case Op::set:
            into(*node.parts[1]);
            store(symbols, *node.parts[0]);
            return;
        case Op::set_block:
            store(symbols, *node.parts[0]);
            return;
        case Op::for_:
            into(*node.parts[1]);
            return;
        case Op::call_block:
            into(*node.parts[1]);
            return;
        case Op::filter_block:
            into(*node.parts[0]);
            return;
        case Op::with:
            for (size_t i = 2; i < node.parts.size(); i += 2) into(*node.parts[i]);
            return;
        case Op::generation:
        case Op::named_block:
            return;
        default:
            each_child(node, into);
        }
    }

    // A scope that `opener` opens, of the contents; `declare` names its parameters.
    void open(Node& opener, const Symbols* parent, std::initializer_list<Node*> contents,
              const std::function<void(Symbols&)>& declare) {
        Symbols symbols;
        symbols.parent = parent;
        declare(symbols);
        for (Node* content : contents)
            if (content) collect(symbols, *content);
        for (auto& [name, load] : symbols.loads)
            if (load == Load::undefined) opener.hidden.push_back(name);
        for (Node* content : contents)
            if (content) descend(*content, symbols, false);
    }

    bool reads(Node& node, const std::string& name) {
        Level level(*this, node);
        if (node.op == Op::name && node.text == name) return true;
        if (node.op == Op::named_block) return false;
        bool found = false;
        each_child(node, [&](Node& child) { found = found || reads(child, name); });
        return found;
    }

    void macro(Node& node, Symbols& symbols) {
        Node& body = *node.parts[0];
        bool explicit_caller = false;
        for (const std::string& name : node.names) explicit_caller |= name == "caller";
        auto is_parameter = [&](const char* name) {
            for (const std::string& parameter : node.names)
                if (parameter == name) return true;
            return false;
        };
        node.uses_caller = !explicit_caller && reads(body, "caller");
        node.uses_varargs = !is_parameter("varargs") && reads(body, "varargs");
        node.uses_kwargs = !is_parameter("kwargs") && reads(body, "kwargs");
        open(node, &symbols, {&body}, [&](Symbols& inner) {
            for (const std::string& name : node.names) inner.parameter(name);
            for (auto& [key, value] : node.keywords) collect(inner, *value);
            if (node.uses_caller) inner.parameter("caller");
            if (node.uses_varargs) inner.parameter("varargs");
            if (node.uses_kwargs) inner.parameter("kwargs");
        });
        for (auto& [key, value] : node.keywords) descend(*value, symbols, false);
    }

    // Everything in a scope. `soft`: in a condition, where unknown filters are found when they are run.
    void descend(Node& node, Symbols& symbols, bool soft) {
        Level level(*this, node);
        auto nothing = [](Symbols&) {};
        switch (node.op) {
        case Op::if_:
        case Op::conditional:
            soft = true;
            break;
        case Op::filter:
            if (!soft && !is_filter(node.text))
                fail_at(where, node.line, "there is no filter named '" + node.text + "'");
            break;
        case Op::test:
            if (!soft && !is_test(node.text))
                fail_at(where, node.line, "there is no test named '" + node.text + "'");
            break;
        case Op::for_: {
            descend(*node.parts[1], symbols, soft);
            auto declare = [&](Symbols& inner) { parameters(inner, *node.parts[0]); };
            auto with_loop = [&](Symbols& inner) {
                inner.parameter("loop");
                declare(inner);
            };
            if (node.parts[2]) open(*node.parts[2], &symbols, {node.parts[2].get()}, declare);
            open(node, &symbols, {node.parts[3].get()}, with_loop);
            if (node.parts[4]) open(*node.parts[4], &symbols, {node.parts[4].get()}, nothing);
            return;
        }
        case Op::macro:
            macro(node, symbols);
            return;
        case Op::call_block:
            descend(*node.parts[1], symbols, soft);
            macro(node, symbols);
            return;
        case Op::set_block:
            open(node, &symbols, {node.parts[2].get(), node.parts[1].get()}, nothing);
            return;
        case Op::filter_block:
            open(node, &symbols, {node.parts[1].get(), node.parts[0].get()}, nothing);
            return;
        case Op::with:
            for (size_t i = 2; i < node.parts.size(); i += 2)
                descend(*node.parts[i], symbols, soft);
            open(node, &symbols, {node.parts[0].get()}, [&](Symbols& inner) {
                for (size_t i = 1; i < node.parts.size(); i += 2) parameters(inner, *node.parts[i]);
            });
            return;
        case Op::generation:
        case Op::named_block:
            open(node, &symbols, {node.parts[0].get()}, nothing);
            return;
        default:
            break;
        }
        each_child(node, [&](Node& child) { descend(child, symbols, soft); });
    }
};

} // namespace

void analyse(Node& root, const std::string& where) {
    Analysis analysis{where};
    analysis.open(root, nullptr, {&root}, [](Symbols&) {});
}

// A long sum is a deep tree: its nodes are freed one after the other.
Node::~Node() {
    std::vector<NodePtr> waiting;
    auto take = [&](Node& node) {
        for (NodePtr& part : node.parts) waiting.push_back(std::move(part));
        for (NodePtr& part : node.arguments) waiting.push_back(std::move(part));
        for (auto& [key, part] : node.keywords) waiting.push_back(std::move(part));
        waiting.push_back(std::move(node.more_arguments));
        waiting.push_back(std::move(node.more_keywords));
        node.parts.clear();
        node.arguments.clear();
        node.keywords.clear();
    };
    take(*this);
    while (!waiting.empty()) {
        NodePtr next = std::move(waiting.back());
        waiting.pop_back();
        if (next) take(*next);
    }
}

} // namespace jinja
