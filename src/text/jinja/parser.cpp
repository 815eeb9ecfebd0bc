#include "text/jinja/syntax.h"

#include <initializer_list>

// Recursive descent in the order of Jinja's own grammar: condition, or, and, not, comparison, + -, ~,
// * / // %, **, sign, then what stands behind a value: .name [item] (call) |filter is-test.

namespace jinja {

namespace {

struct Parser {
    const std::vector<Token>& tokens;
    const std::string& where;
    size_t at = 0;
    int depth = 0;
    int loops = 0; // around the statement that is read
    std::vector<std::string> open_tags;

    const Token& current() const { return tokens[at]; }
    const Token& behind() const { return tokens[std::min(at + 1, tokens.size() - 1)]; }
    const Token& take() {
        const Token& token = tokens[at];
        if (at + 1 < tokens.size()) ++at;
        return token;
    }

    [[noreturn]] void fail_here(const std::string& message) const {
        fail_at(where, current().line, message);
    }

    static std::string describe(const Token& token) {
        switch (token.kind) {
        case TokenKind::data:
            return "template text";
        case TokenKind::block_begin:
            return "'{%'";
        case TokenKind::block_end:
            return "'%}'";
        case TokenKind::variable_begin:
            return "'{{'";
        case TokenKind::variable_end:
            return "'}}'";
        case TokenKind::end:
            return "the end of the template";
        case TokenKind::string:
            return "a string";
        default:
            return "'" + token.text + "'";
        }
    }

    bool is_sign(const char* sign) const {
        return current().kind == TokenKind::sign && current().text == sign;
    }
    bool is_name(const char* name) const {
        return current().kind == TokenKind::name && current().text == name;
    }
    bool skip_sign(const char* sign) {
        if (!is_sign(sign)) return false;
        take();
        return true;
    }
    bool skip_name(const char* name) {
        if (!is_name(name)) return false;
        take();
        return true;
    }
    void expect_sign(const char* sign) {
        if (!skip_sign(sign))
            fail_here(std::string("expected '") + sign + "', found " + describe(current()));
    }
    void expect_name(const char* name) {
        if (!skip_name(name))
            fail_here(std::string("expected '") + name + "', found " + describe(current()));
    }
    std::string take_name() {
        if (current().kind != TokenKind::name)
            fail_here("expected a name, found " + describe(current()));
        return take().text;
    }
    void expect(TokenKind kind, const char* what) {
        if (current().kind != kind)
            fail_here(std::string("expected ") + what + ", found " + describe(current()));
        take();
    }

    NodePtr node(Op op, int line = 0) const {
        auto made = std::make_unique<Node>();
        made->op = op;
        made->line = line ? line : current().line;
        return made;
    }
    template <class... Parts> NodePtr node_of(Op op, int line, Parts... parts) const {
        NodePtr made = node(op, line);
        (made->parts.push_back(std::move(parts)), ...);
        return made;
    }

    struct Level {
        Parser& parser;
        explicit Level(Parser& owner) : parser(owner) {
            if (++parser.depth > 200) parser.fail_here("the template is nested too deep");
        }
        ~Level() { --parser.depth; }
    };

    // ---- expressions --------------------------------------------------------------------------------

    NodePtr expression(bool with_condition = true) {
        Level level(*this);
        return with_condition ? condition() : logical_or();
    }

    NodePtr condition() {
        Level level(*this);
        int line = current().line;
        NodePtr then = logical_or();
        while (skip_name("if")) {
            NodePtr test = logical_or(), otherwise;
            if (skip_name("else")) otherwise = condition();
            then = node_of(Op::conditional, line, std::move(test), std::move(then),
                           std::move(otherwise));
            line = current().line;
        }
        return then;
    }

    NodePtr logical_or() {
        NodePtr left = logical_and();
        while (is_name("or")) {
            int line = take().line;
            left = node_of(Op::logical_or, line, std::move(left), logical_and());
        }
        return left;
    }

    NodePtr logical_and() {
        NodePtr left = logical_not();
        while (is_name("and")) {
            int line = take().line;
            left = node_of(Op::logical_and, line, std::move(left), logical_not());
        }
        return left;
    }

    NodePtr logical_not() {
        if (!is_name("not")) return comparison();
        Level level(*this);
        int line = take().line;
        return node_of(Op::logical_not, line, logical_not());
    }

    NodePtr comparison() {
        int line = current().line;
        NodePtr first = sum();
        NodePtr whole;
        for (;;) {
            std::string sign;
            for (const char* known : {"==", "!=", "<", "<=", ">", ">="})
                if (is_sign(known)) sign = known;
            if (is_name("in")) sign = "in";
            bool negated =
                is_name("not") && behind().kind == TokenKind::name && behind().text == "in";
            if (negated) {
                sign = "not in";
                take();
            }
            if (sign.empty()) break;
            take();
            if (!whole) whole = node_of(Op::compare, line, std::move(first));
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
                if (is_sign(sign)) found = sign;
            if (!found) return left;
            int line = take().line;
            left = node_of(Op::arithmetic, line, std::move(left), next());
            left->text = found;
        }
    }

    NodePtr sum() {
        return chain({"+", "-"}, [&] { return concatenation(); });
    }

    NodePtr concatenation() {
        int line = current().line;
        NodePtr first = product();
        if (!is_sign("~")) return first;
        NodePtr whole = node_of(Op::concat, line, std::move(first));
        while (skip_sign("~")) whole->parts.push_back(product());
        return whole;
    }

    NodePtr product() {
        return chain({"*", "/", "//", "%"}, [&] { return power(); });
    }

    NodePtr power() {
        return chain({"**"}, [&] { return unary(true); });
    }

    NodePtr unary(bool with_filter) {
        Level level(*this);
        int line = current().line;
        NodePtr value;
        if (skip_sign("-"))
            value = node_of(Op::negate, line, unary(false));
        else if (skip_sign("+"))
            value = node_of(Op::plus, line, unary(false));
        else
            value = primary();
        value = postfix(std::move(value));
        return with_filter ? filters_and_tests(std::move(value)) : std::move(value);
    }

    NodePtr constant(Value value, int line) const {
        NodePtr made = node(Op::constant, line);
        made->value = std::move(value);
        return made;
    }

    NodePtr primary(bool with_namespace = false) {
        const Token& token = current();
        int line = token.line;
        switch (token.kind) {
        case TokenKind::name: {
            std::string name = take().text;
            if (name == "true" || name == "True") return constant(Value::of(true), line);
            if (name == "false" || name == "False") return constant(Value::of(false), line);
            if (name == "none" || name == "None") return constant(Value::none(), line);
            bool attribute = with_namespace && skip_sign(".");
            NodePtr made = node(attribute ? Op::namespace_attribute : Op::name, line);
            made->text = name;
            if (attribute) made->names.push_back(take_name());
            return made;
        }
        case TokenKind::string: {
            std::string text;
            while (current().kind == TokenKind::string) text += take().text;
            return constant(Value::of(std::move(text)), line);
        }
        case TokenKind::integer:
        case TokenKind::real:
            return constant(take().number, line);
        default:
            break;
        }
        if (skip_sign("(")) {
            NodePtr made = tuple_or_one(true, true, nullptr);
            expect_sign(")");
            return made;
        }
        if (skip_sign("[")) {
            NodePtr made = node(Op::list, line);
            while (!is_sign("]")) {
                if (!made->parts.empty()) expect_sign(",");
                if (is_sign("]")) break;
                made->parts.push_back(expression());
            }
            expect_sign("]");
            return made;
        }
        if (skip_sign("{")) {
            NodePtr made = node(Op::dict, line);
            while (!is_sign("}")) {
                if (!made->parts.empty()) expect_sign(",");
                if (is_sign("}")) break;
                made->parts.push_back(expression());
                expect_sign(":");
                made->parts.push_back(expression());
            }
            expect_sign("}");
            return made;
        }
        fail_here("unexpected " + describe(token));
    }

    // Expressions with commas between them are a tuple. `parse` reads one; `end_name` ends the list.
    template <class Parse>
    NodePtr tuple_of(bool explicit_parentheses, const char* end_name, Parse parse) {
        NodePtr tuple = node(Op::tuple);
        bool is_tuple = false;
        for (;;) {
            if (!tuple->parts.empty()) expect_sign(",");
            if (current().kind == TokenKind::variable_end ||
                current().kind == TokenKind::block_end || is_sign(")") ||
                (end_name && is_name(end_name)))
                break;
            tuple->parts.push_back(parse());
            if (!is_sign(",")) break;
            is_tuple = true;
        }
        if (is_tuple) return tuple;
        if (!tuple->parts.empty()) return std::move(tuple->parts[0]);
        if (!explicit_parentheses)
            fail_here("expected an expression, found " + describe(current()));
        return tuple;
    }

    NodePtr tuple_or_one(bool explicit_parentheses, bool with_condition, const char* end_name) {
        return tuple_of(explicit_parentheses, end_name, [&] { return expression(with_condition); });
    }

    NodePtr postfix(NodePtr value) {
        for (int count = 0;; ++count) {
            if (is_sign(".") || is_sign("["))
                value = subscript(std::move(value));
            else if (is_sign("("))
                value = call(std::move(value));
            else
                return value;
            check_chain(count);
        }
    }

    NodePtr filters_and_tests(NodePtr value) {
        for (int count = 0;; ++count) {
            if (is_sign("|"))
                value = filter(std::move(value));
            else if (is_name("is"))
                value = test(std::move(value));
            else if (is_sign("("))
                value = call(std::move(value));
            else
                return value;
            check_chain(count);
        }
    }

    // A chain is as deep in the tree as it is long.
    void check_chain(int count) const {
        if (count > 200) fail_here("more than 200 subscripts, calls or filters behind one value");
    }

    NodePtr subscript(NodePtr value) {
        int line = current().line;
        if (skip_sign(".")) {
            if (current().kind == TokenKind::integer)
                return node_of(Op::item, line, std::move(value), constant(take().number, line));
            NodePtr made = node_of(Op::attribute, line, std::move(value));
            made->text = take_name();
            return made;
        }
        expect_sign("[");
        NodePtr only, many = node(Op::tuple, line);
        while (!is_sign("]")) {
            if (only || !many->parts.empty()) expect_sign(",");
            NodePtr next = subscribed();
            if (next->op == Op::slice && (only || !many->parts.empty()))
                fail_here("a slice among several subscripts is not supported");
            if (only) many->parts.push_back(std::move(only));
            if (many->parts.empty())
                only = std::move(next);
            else
                many->parts.push_back(std::move(next));
        }
        expect_sign("]");
        if (only && only->op == Op::slice) {
            only->parts[0] = std::move(value);
            return only;
        }
        return node_of(Op::item, line, std::move(value), only ? std::move(only) : std::move(many));
    }

    NodePtr subscribed() {
        int line = current().line;
        NodePtr begin, end, step;
        auto at_end = [&] { return is_sign(":") || is_sign("]") || is_sign(","); };
        if (!is_sign(":")) begin = expression();
        if (!is_sign(":")) return begin;
        take();
        if (!at_end()) end = expression();
        if (skip_sign(":") && !at_end()) step = expression();
        return node_of(Op::slice, line, NodePtr(), std::move(begin), std::move(end),
                       std::move(step));
    }

    void call_arguments(Node& to) {
        expect_sign("(");
        bool any = false;
        while (!is_sign(")")) {
            if (any) {
                expect_sign(",");
                if (is_sign(")")) break;
            }
            any = true;
            if (is_sign("*") && !to.more_arguments && !to.more_keywords) {
                take();
                to.more_arguments = expression();
            } else if (is_sign("**") && !to.more_keywords) {
                take();
                to.more_keywords = expression();
            } else if (current().kind == TokenKind::name && behind().kind == TokenKind::sign &&
                       behind().text == "=" && !to.more_keywords) {
                std::string key = take().text;
                take();
                to.keywords.emplace_back(key, expression());
            } else if (!to.more_arguments && !to.more_keywords && to.keywords.empty()) {
                to.arguments.push_back(expression());
            } else {
                fail_here("invalid syntax for a call");
            }
        }
        expect_sign(")");
    }

    NodePtr call(NodePtr value) {
        NodePtr made = node_of(Op::call, current().line, std::move(value));
        call_arguments(*made);
        return made;
    }

    std::string dotted_name() {
        std::string name = take_name();
        while (skip_sign(".")) name += "." + take_name();
        return name;
    }

    // Behind the "|".
    NodePtr filter_behind(NodePtr value) {
        NodePtr made = node_of(Op::filter, current().line, std::move(value));
        made->text = dotted_name();
        if (is_sign("(")) call_arguments(*made);
        return made;
    }

    NodePtr filter(NodePtr value) {
        for (int count = 0; skip_sign("|"); ++count) {
            value = filter_behind(std::move(value));
            check_chain(count);
        }
        return value;
    }

    NodePtr test(NodePtr value) {
        int line = take().line;
        bool negated = skip_name("not");
        NodePtr made = node_of(Op::test, line, std::move(value));
        made->text = dotted_name();
        TokenKind next = current().kind;
        bool begins_argument = next == TokenKind::name || next == TokenKind::string ||
                               next == TokenKind::integer || next == TokenKind::real ||
                               is_sign("[") || is_sign("{");
        if (is_sign("(")) {
            call_arguments(*made);
        } else if (begins_argument && !is_name("else") && !is_name("or") && !is_name("and")) {
            if (is_name("is")) fail_here("tests cannot be chained with 'is'");
            NodePtr argument = primary();
            made->arguments.push_back(postfix(std::move(argument)));
        }
        return negated ? node_of(Op::logical_not, line, std::move(made)) : std::move(made);
    }

    // ---- statements ---------------------------------------------------------------------------------

    NodePtr target(bool with_namespace, const char* end_name) {
        int line = current().line;
        Level level(*this);
        NodePtr made = tuple_of(false, end_name, [&] {
            return is_sign("(") ? nested_target(with_namespace) : primary(with_namespace);
        });
        check_target(*made, line);
        return made;
    }

    NodePtr nested_target(bool with_namespace) {
        Level level(*this);
        expect_sign("(");
        NodePtr made = tuple_of(true, nullptr, [&] {
            return is_sign("(") ? nested_target(with_namespace) : primary(with_namespace);
        });
        expect_sign(")");
        return made;
    }

    void check_target(const Node& made, int line) const {
        if (made.op == Op::tuple) {
            for (const NodePtr& part : made.parts) check_target(*part, line);
            return;
        }
        if (made.op != Op::name && made.op != Op::namespace_attribute)
            fail_at(where, line, "only names can be assigned to");
    }

    // Statements up to the tag that one of `ends` begins; the name that ended them is left to be read.
    NodePtr body(std::initializer_list<const char*> ends) {
        skip_sign(":");
        expect(TokenKind::block_end, "'%}'");
        Level level(*this);
        NodePtr made = statements(ends);
        if (current().kind == TokenKind::end) {
            std::string wanted;
            for (const char* end : ends)
                wanted += (wanted.empty() ? "'" : " or '") + (end + std::string("'"));
            fail_here("unexpected end of the template; " + wanted + " is missing");
        }
        return made;
    }

    NodePtr statements(std::initializer_list<const char*> ends) {
        NodePtr list = node(Op::block);
        for (;;) {
            const Token& token = current();
            switch (token.kind) {
            case TokenKind::data: {
                NodePtr made = node(Op::data);
                made->text = take().text;
                list->parts.push_back(std::move(made));
                break;
            }
            case TokenKind::variable_begin: {
                int line = take().line;
                list->parts.push_back(
                    node_of(Op::output, line, tuple_or_one(false, true, nullptr)));
                expect(TokenKind::variable_end, "'}}'");
                break;
            }
            case TokenKind::block_begin:
                take();
                for (const char* end : ends)
                    if (is_name(end)) return list;
                list->parts.push_back(statement());
                expect(TokenKind::block_end, "'%}'");
                break;
            case TokenKind::end:
                return list;
            default:
                fail_here("unexpected " + describe(token));
            }
        }
    }

    NodePtr statement() {
        if (current().kind != TokenKind::name) fail_here("expected the name of a tag");
        std::string tag = current().text;
        int line = current().line;
        if (tag == "if") return if_statement();
        if (tag == "for") return for_statement();
        if (tag == "set") return set_statement();
        if (tag == "macro") return macro_statement();
        take();
        if (tag == "call") return call_statement(line);
        if (tag == "filter") return filter_statement(line);
        if (tag == "with") return with_statement(line);
        if (tag == "print") return print_statement(line);
        if (tag == "break" || tag == "continue") {
            if (!loops) fail_at(where, line, "{% " + tag + " %} outside of a loop");
            return node(tag == "break" ? Op::break_ : Op::continue_, line);
        }
        if (tag == "generation") {
            NodePtr made = node_of(Op::generation, line, outside_of_loops({"endgeneration"}));
            expect_name("endgeneration");
            return made;
        }
        if (tag == "block") {
            std::string name = take_name();
            while (skip_name("scoped") || skip_name("required")) {
            }
            NodePtr made = node_of(Op::named_block, line, outside_of_loops({"endblock"}));
            made->text = name;
            expect_name("endblock");
            skip_name(name.c_str());
            return made;
        }
        for (const char* known : {"extends", "include", "import", "from", "autoescape"})
            if (tag == known)
                fail_at(where, line,
                        "the tag {% " + tag + " %} is not supported in chat templates");
        std::string missing = tag.rfind("end", 0) == 0 || tag == "else" || tag == "elif"
                                  ? "; nothing that it ends is open here"
                                  : "";
        fail_at(where, line, "unknown tag {% " + tag + " %}" + missing);
    }

    NodePtr outside_of_loops(std::initializer_list<const char*> ends) {
        int outer = std::exchange(loops, 0);
        NodePtr made = body(ends);
        loops = outer;
        return made;
    }

    NodePtr if_statement() {
        int line = take().line; // if, elif
        Level level(*this);
        NodePtr test = tuple_or_one(false, false, nullptr);
        NodePtr then = body({"elif", "else", "endif"}), otherwise;
        if (is_name("elif")) {
            otherwise = if_statement();
        } else {
            if (skip_name("else")) otherwise = body({"endif"});
            expect_name("endif");
        }
        return node_of(Op::if_, line, std::move(test), std::move(then), std::move(otherwise));
    }

    NodePtr for_statement() {
        int line = take().line;
        NodePtr to = target(false, "in");
        expect_name("in");
        NodePtr from = tuple_or_one(false, false, "recursive"), condition_node, otherwise;
        if (skip_name("if")) condition_node = expression();
        bool recursive = skip_name("recursive");
        ++loops;
        NodePtr inside = body({"endfor", "else"});
        --loops;
        if (skip_name("else")) otherwise = body({"endfor"});
        expect_name("endfor");
        NodePtr made = node_of(Op::for_, line, std::move(to), std::move(from),
                               std::move(condition_node), std::move(inside), std::move(otherwise));
        made->recursive = recursive;
        return made;
    }

    NodePtr set_statement() {
        int line = take().line;
        NodePtr to = target(true, nullptr);
        if (skip_sign("="))
            return node_of(Op::set, line, std::move(to), tuple_or_one(false, true, nullptr));
        NodePtr through = is_sign("|") ? filter(NodePtr()) : NodePtr();
        NodePtr inside = outside_of_loops({"endset"});
        expect_name("endset");
        return node_of(Op::set_block, line, std::move(to), std::move(through), std::move(inside));
    }

    void signature(Node& macro) {
        expect_sign("(");
        while (!is_sign(")")) {
            if (!macro.names.empty()) expect_sign(",");
            macro.names.push_back(take_name());
            if (skip_sign("="))
                macro.keywords.emplace_back(macro.names.back(), expression());
            else if (!macro.keywords.empty())
                fail_here("a parameter without a default behind one with a default");
        }
        expect_sign(")");
    }

    NodePtr macro_statement() {
        int line = take().line;
        NodePtr made = node(Op::macro, line);
        made->text = take_name();
        signature(*made);
        made->parts.push_back(outside_of_loops({"endmacro"}));
        expect_name("endmacro");
        return made;
    }

    NodePtr call_statement(int line) {
        NodePtr made = node(Op::call_block, line);
        if (is_sign("(")) signature(*made);
        NodePtr called = expression();
        if (called->op != Op::call) fail_at(where, line, "{% call %} needs a call");
        made->parts.push_back(outside_of_loops({"endcall"}));
        made->parts.push_back(std::move(called));
        expect_name("endcall");
        return made;
    }

    NodePtr filter_statement(int line) {
        NodePtr through = filter(filter_behind(NodePtr()));
        NodePtr inside = outside_of_loops({"endfilter"});
        expect_name("endfilter");
        return node_of(Op::filter_block, line, std::move(through), std::move(inside));
    }

    NodePtr with_statement(int line) {
        NodePtr made = node_of(Op::with, line, NodePtr());
        while (current().kind != TokenKind::block_end) {
            if (made->parts.size() > 1) expect_sign(",");
            int target_line = current().line;
            NodePtr to = is_sign("(") ? nested_target(false) : primary();
            if (is_sign(",")) fail_here("several names at once in {% with %} are not supported");
            check_target(*to, target_line);
            expect_sign("=");
            made->parts.push_back(std::move(to));
            made->parts.push_back(expression());
        }
        made->parts[0] = body({"endwith"});
        expect_name("endwith");
        return made;
    }

    NodePtr print_statement(int line) {
        NodePtr made = node(Op::output, line);
        while (current().kind != TokenKind::block_end) {
            if (!made->parts.empty()) expect_sign(",");
            made->parts.push_back(expression());
        }
        return made;
    }
};

} // namespace

NodePtr parse_template(const std::string& source, const std::string& where) {
    std::vector<Token> tokens = tokenize(source, where);
    Parser parser{tokens, where, 0, 0, 0, {}};
    NodePtr root = parser.statements({});
    analyse(*root, where);
    return root;
}

} // namespace jinja
