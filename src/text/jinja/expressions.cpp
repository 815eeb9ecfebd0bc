#include "text/jinja/parser.h"

#include <initializer_list>

// In the order of Jinja's own grammar: condition, or, and, not, comparison, + -, ~, * / // %, **, sign,
// then what stands behind a value: .name [item] (call) |filter is-test.

namespace jinja {

namespace {

struct Expressions {
    Cursor& in;

    NodePtr expression(bool with_condition = true) {
        Cursor::Level level(in);
        return with_condition ? condition() : logical_or();
    }

    NodePtr condition() {
        Cursor::Level level(in);
        int line = in.current().line;
        NodePtr then = logical_or();
        while (in.skip_name("if")) {
            NodePtr test = logical_or(), otherwise;
            if (in.skip_name("else")) otherwise = condition();
            then = in.node_of(Op::conditional, line, std::move(test), std::move(then),
                              std::move(otherwise));
            line = in.current().line;
        }
        return then;
    }

    NodePtr logical_or() {
        NodePtr left = logical_and();
        while (in.is_name("or")) {
            int line = in.take().line;
            left = in.node_of(Op::logical_or, line, std::move(left), logical_and());
        }
        return left;
    }

    NodePtr logical_and() {
        NodePtr left = logical_not();
        while (in.is_name("and")) {
            int line = in.take().line;
            left = in.node_of(Op::logical_and, line, std::move(left), logical_not());
        }
        return left;
    }

    NodePtr logical_not() {
        if (!in.is_name("not")) return comparison();
        Cursor::Level level(in);
        int line = in.take().line;
        return in.node_of(Op::logical_not, line, logical_not());
    }

    NodePtr comparison() {
        int line = in.current().line;
        NodePtr first = sum();
        NodePtr whole;
        for (;;) {
            std::string sign;
            for (const char* known : {"==", "!=", "<", "<=", ">", ">="})
                if (in.is_sign(known)) sign = known;
            if (in.is_name("in")) sign = "in";
            bool negated = in.is_name("not") && in.behind().kind == TokenKind::name &&
                           in.behind().text == "in";
            if (negated) {
                sign = "not in";
                in.take();
            }
            if (sign.empty()) break;
            in.take();
            if (!whole) whole = in.node_of(Op::compare, line, std::move(first));
            whole->names.push_back(sign);
            whole->parts.push_back(sum());
        }
        return whole ? std::move(whole) : std::move(first);
    }

    // Left-associative operators of one level.
    template <class Next> NodePtr chain(std::initializer_list<const char*> signs, Next next) {
        NodePtr left = next();
        for (;;) {
            const char* found = nullptr;
            for (const char* sign : signs)
                if (in.is_sign(sign)) found = sign;
            if (!found) return left;
            int line = in.take().line;
            left = in.node_of(Op::arithmetic, line, std::move(left), next());
            left->text = found;
        }
    }

    NodePtr sum() {
        return chain({"+", "-"}, [&] { return concatenation(); });
    }

    NodePtr concatenation() {
        int line = in.current().line;
        NodePtr first = product();
        if (!in.is_sign("~")) return first;
        NodePtr whole = in.node_of(Op::concat, line, std::move(first));
        while (in.skip_sign("~")) whole->parts.push_back(product());
        return whole;
    }

    NodePtr product() {
        return chain({"*", "/", "//", "%"}, [&] { return power(); });
    }

    NodePtr power() {
        return chain({"**"}, [&] { return unary(true); });
    }

    NodePtr unary(bool with_filter) {
        Cursor::Level level(in);
        int line = in.current().line;
        NodePtr value;
        if (in.skip_sign("-"))
            value = in.node_of(Op::negate, line, unary(false));
        else if (in.skip_sign("+"))
            value = in.node_of(Op::plus, line, unary(false));
        else
            value = primary();
        value = postfix(std::move(value));
        return with_filter ? filters_and_tests(std::move(value)) : std::move(value);
    }

    NodePtr constant(Value value, int line) const {
        NodePtr made = in.node(Op::constant, line);
        made->value = std::move(value);
        return made;
    }

    NodePtr primary(bool with_namespace = false) {
        const Token& token = in.current();
        int line = token.line;
        switch (token.kind) {
        case TokenKind::name: {
            std::string name = in.take().text;
            if (name == "true" || name == "True") return constant(Value::of(true), line);
            if (name == "false" || name == "False") return constant(Value::of(false), line);
            if (name == "none" || name == "None") return constant(Value::none(), line);
            bool attribute = with_namespace && in.skip_sign(".");
            NodePtr made = in.node(attribute ? Op::namespace_attribute : Op::name, line);
            made->text = name;
            if (attribute) made->names.push_back(in.take_name());
            return made;
        }
        case TokenKind::string: {
            std::string text;
            while (in.current().kind == TokenKind::string) text += in.take().text;
            return constant(Value::of(std::move(text)), line);
        }
        case TokenKind::integer:
        case TokenKind::real:
            return constant(in.take().number, line);
        default:
            break;
        }
        if (in.skip_sign("(")) {
            NodePtr made = tuple_or_one(true, true, nullptr);
            in.expect_sign(")");
            return made;
        }
        if (in.skip_sign("[")) {
            NodePtr made = in.node(Op::list, line);
            while (!in.is_sign("]")) {
                if (!made->parts.empty()) in.expect_sign(",");
                if (in.is_sign("]")) break;
                made->parts.push_back(expression());
            }
            in.expect_sign("]");
            return made;
        }
        if (in.skip_sign("{")) {
            NodePtr made = in.node(Op::dict, line);
            while (!in.is_sign("}")) {
                if (!made->parts.empty()) in.expect_sign(",");
                if (in.is_sign("}")) break;
                made->parts.push_back(expression());
                in.expect_sign(":");
                made->parts.push_back(expression());
            }
            in.expect_sign("}");
            return made;
        }
        in.fail_here("unexpected " + Cursor::describe(token));
    }

    // Expressions with commas between them are a tuple. `parse` reads one; `end_name` ends the list.
    template <class Parse>
    NodePtr tuple_of(bool explicit_parentheses, const char* end_name, Parse parse) {
        NodePtr tuple = in.node(Op::tuple);
        bool is_tuple = false;
        for (;;) {
            if (!tuple->parts.empty()) in.expect_sign(",");
            if (in.current().kind == TokenKind::variable_end ||
                in.current().kind == TokenKind::block_end || in.is_sign(")") ||
                (end_name && in.is_name(end_name)))
                break;
            tuple->parts.push_back(parse());
            if (!in.is_sign(",")) break;
            is_tuple = true;
        }
        if (is_tuple) return tuple;
        if (!tuple->parts.empty()) return std::move(tuple->parts[0]);
        if (!explicit_parentheses)
            in.fail_here("expected an expression, found " + Cursor::describe(in.current()));
        return tuple;
    }

    NodePtr tuple_or_one(bool explicit_parentheses, bool with_condition, const char* end_name) {
        return tuple_of(explicit_parentheses, end_name, [&] { return expression(with_condition); });
    }

    NodePtr postfix(NodePtr value) {
        for (int count = 0;; ++count) {
            if (in.is_sign(".") || in.is_sign("["))
                value = subscript(std::move(value));
            else if (in.is_sign("("))
                value = call(std::move(value));
            else
                return value;
            check_chain(count);
        }
    }

    NodePtr filters_and_tests(NodePtr value) {
        for (int count = 0;; ++count) {
            if (in.is_sign("|"))
                value = filter(std::move(value));
            else if (in.is_name("is"))
                value = test(std::move(value));
            else if (in.is_sign("("))
                value = call(std::move(value));
            else
                return value;
            check_chain(count);
        }
    }

    // A chain is as deep in the tree as it is long.
    void check_chain(int count) const {
        if (count > 200)
            in.fail_here("more than 200 subscripts, calls or filters behind one value");
    }

    NodePtr subscript(NodePtr value) {
        int line = in.current().line;
        if (in.skip_sign(".")) {
            if (in.current().kind == TokenKind::integer)
                return in.node_of(Op::item, line, std::move(value),
                                  constant(in.take().number, line));
            NodePtr made = in.node_of(Op::attribute, line, std::move(value));
            made->text = in.take_name();
            return made;
        }
        in.expect_sign("[");
        NodePtr only, many = in.node(Op::tuple, line);
        while (!in.is_sign("]")) {
            if (only || !many->parts.empty()) in.expect_sign(",");
            NodePtr next = subscribed();
            if (next->op == Op::slice && (only || !many->parts.empty()))
                in.fail_here("a slice among several subscripts is not supported");
            if (only) many->parts.push_back(std::move(only));
            if (many->parts.empty())
                only = std::move(next);
            else
                many->parts.push_back(std::move(next));
        }
        in.expect_sign("]");
        if (only && only->op == Op::slice) {
            only->parts[0] = std::move(value);
            return only;
        }
        return in.node_of(Op::item, line, std::move(value),
                          only ? std::move(only) : std::move(many));
    }

    NodePtr subscribed() {
        int line = in.current().line;
        NodePtr begin, end, step;
        auto at_end = [&] { return in.is_sign(":") || in.is_sign("]") || in.is_sign(","); };
        if (!in.is_sign(":")) begin = expression();
        if (!in.is_sign(":")) return begin;
        in.take();
        if (!at_end()) end = expression();
        if (in.skip_sign(":") && !at_end()) step = expression();
        return in.node_of(Op::slice, line, NodePtr(), std::move(begin), std::move(end),
                          std::move(step));
    }

    void call_arguments(Node& to) {
        in.expect_sign("(");
        bool any = false;
        while (!in.is_sign(")")) {
            if (any) {
                in.expect_sign(",");
                if (in.is_sign(")")) break;
            }
            any = true;
            if (in.is_sign("*") && !to.more_arguments && !to.more_keywords) {
                in.take();
                to.more_arguments = expression();
            } else if (in.is_sign("**") && !to.more_keywords) {
                in.take();
                to.more_keywords = expression();
            } else if (in.current().kind == TokenKind::name &&
                       in.behind().kind == TokenKind::sign && in.behind().text == "=" &&
                       !to.more_keywords) {
                std::string key = in.take().text;
                in.take();
                to.keywords.emplace_back(key, expression());
            } else if (!to.more_arguments && !to.more_keywords && to.keywords.empty()) {
                to.arguments.push_back(expression());
            } else {
                in.fail_here("invalid syntax for a call");
            }
        }
        in.expect_sign(")");
    }

    NodePtr call(NodePtr value) {
        NodePtr made = in.node_of(Op::call, in.current().line, std::move(value));
        call_arguments(*made);
        return made;
    }

    std::string dotted_name() {
        std::string name = in.take_name();
        while (in.skip_sign(".")) name += "." + in.take_name();
        return name;
    }

    // Behind the "|".
    NodePtr filter_behind(NodePtr value) {
        NodePtr made = in.node_of(Op::filter, in.current().line, std::move(value));
        made->text = dotted_name();
        if (in.is_sign("(")) call_arguments(*made);
        return made;
    }

    NodePtr filter(NodePtr value) {
        for (int count = 0; in.skip_sign("|"); ++count) {
            value = filter_behind(std::move(value));
            check_chain(count);
        }
        return value;
    }

    NodePtr test(NodePtr value) {
        int line = in.take().line;
        bool negated = in.skip_name("not");
        NodePtr made = in.node_of(Op::test, line, std::move(value));
        made->text = dotted_name();
        TokenKind next = in.current().kind;
        bool begins_argument = next == TokenKind::name || next == TokenKind::string ||
                               next == TokenKind::integer || next == TokenKind::real ||
                               in.is_sign("[") || in.is_sign("{");
        if (in.is_sign("(")) {
            call_arguments(*made);
        } else if (begins_argument && !in.is_name("else") && !in.is_name("or") &&
                   !in.is_name("and")) {
            if (in.is_name("is")) in.fail_here("tests cannot be chained with 'is'");
            NodePtr argument = primary();
            made->arguments.push_back(postfix(std::move(argument)));
        }
        return negated ? in.node_of(Op::logical_not, line, std::move(made)) : std::move(made);
    }
};

} // namespace

NodePtr parse_expression(Cursor& in, bool with_condition) {
    return Expressions{in}.expression(with_condition);
}
NodePtr parse_primary(Cursor& in, bool with_namespace) {
    return Expressions{in}.primary(with_namespace);
}
NodePtr parse_tuple(Cursor& in, bool in_parentheses, bool with_condition, const char* end_name) {
    return Expressions{in}.tuple_or_one(in_parentheses, with_condition, end_name);
}
NodePtr parse_tuple_of(Cursor& in, bool in_parentheses, const char* end_name,
                       const std::function<NodePtr()>& parse) {
    return Expressions{in}.tuple_of(in_parentheses, end_name, parse);
}
NodePtr parse_filters(Cursor& in, NodePtr value) {
    return Expressions{in}.filter(std::move(value));
}
NodePtr parse_filter_behind(Cursor& in, NodePtr value) {
    return Expressions{in}.filter_behind(std::move(value));
}

} // namespace jinja
