#include "text/jinja/parser.h"

#include <initializer_list>

// The statements: what stands between "{%" and "%}", and the text around it.

namespace jinja {

namespace {

struct Statements {
    Cursor& in;
    int loops = 0; // around the statement that is read

    NodePtr target(bool with_namespace, const char* end_name) {
        int line = in.current().line;
        Cursor::Level level(in);
        NodePtr made = parse_tuple_of(in, false, end_name, [&] {
            return in.is_sign("(") ? nested_target(with_namespace)
                                   : parse_primary(in, with_namespace);
        });
        check_target(*made, line);
        return made;
    }

    NodePtr nested_target(bool with_namespace) {
        Cursor::Level level(in);
        in.expect_sign("(");
        NodePtr made = parse_tuple_of(in, true, nullptr, [&] {
            return in.is_sign("(") ? nested_target(with_namespace)
                                   : parse_primary(in, with_namespace);
        });
        in.expect_sign(")");
        return made;
    }

    void check_target(const Node& made, int line) const {
        if (made.op == Op::tuple) {
            for (const NodePtr& part : made.parts) check_target(*part, line);
            return;
        }
        if (made.op != Op::name && made.op != Op::namespace_attribute)
            fail_at(in.where, line, "only names can be assigned to");
    }

    // Statements up to the tag that one of `ends` begins; the name that ended them is left to be read.
    NodePtr body(std::initializer_list<const char*> ends) {
        in.skip_sign(":");
        in.expect(TokenKind::block_end, "'%}'");
        Cursor::Level level(in);
        NodePtr made = statements(ends);
        if (in.current().kind == TokenKind::end) {
            std::string wanted;
            for (const char* end : ends)
                wanted += (wanted.empty() ? "'" : " or '") + (end + std::string("'"));
            in.fail_here("unexpected end of the template; " + wanted + " is missing");
        }
        return made;
    }

    NodePtr statements(std::initializer_list<const char*> ends) {
        NodePtr list = in.node(Op::block);
        for (;;) {
            const Token& token = in.current();
            switch (token.kind) {
            case TokenKind::data: {
                NodePtr made = in.node(Op::data);
                made->text = in.take().text;
                list->parts.push_back(std::move(made));
                break;
            }
            case TokenKind::variable_begin: {
                int line = in.take().line;
                list->parts.push_back(
                    in.node_of(Op::output, line, parse_tuple(in, false, true, nullptr)));
                in.expect(TokenKind::variable_end, "'}}'");
                break;
            }
            case TokenKind::block_begin:
                in.take();
                for (const char* end : ends)
                    if (in.is_name(end)) return list;
                list->parts.push_back(statement());
                in.expect(TokenKind::block_end, "'%}'");
                break;
            case TokenKind::end:
                return list;
            default:
                in.fail_here("unexpected " + Cursor::describe(token));
            }
        }
    }

    NodePtr statement() {
        if (in.current().kind != TokenKind::name) in.fail_here("expected the name of a tag");
        std::string tag = in.current().text;
        int line = in.current().line;
        if (tag == "if") return if_statement();
        if (tag == "for") return for_statement();
        if (tag == "set") return set_statement();
        if (tag == "macro") return macro_statement();
        in.take();
        if (tag == "call") return call_statement(line);
        if (tag == "filter") return filter_statement(line);
        if (tag == "with") return with_statement(line);
        if (tag == "print") return print_statement(line);
        if (tag == "break" || tag == "continue") {
            if (!loops) fail_at(in.where, line, "{% " + tag + " %} outside of a loop");
            return in.node(tag == "break" ? Op::break_ : Op::continue_, line);
        }
        if (tag == "generation") {
            NodePtr made = in.node_of(Op::generation, line, outside_of_loops({"endgeneration"}));
            in.expect_name("endgeneration");
            return made;
        }
        if (tag == "block") {
            std::string name = in.take_name();
            while (in.skip_name("scoped") || in.skip_name("required")) {
            }
            NodePtr made = in.node_of(Op::named_block, line, outside_of_loops({"endblock"}));
            made->text = name;
            in.expect_name("endblock");
            in.skip_name(name.c_str());
            return made;
        }
        for (const char* known : {"extends", "include", "import", "from", "autoescape"})
            if (tag == known)
                fail_at(in.where, line,
                        "the tag {% " + tag + " %} is not supported in chat templates");
        std::string missing = tag.rfind("end", 0) == 0 || tag == "else" || tag == "elif"
                                  ? "; nothing that it ends is open here"
                                  : "";
        fail_at(in.where, line, "unknown tag {% " + tag + " %}" + missing);
    }

    NodePtr outside_of_loops(std::initializer_list<const char*> ends) {
        int outer = std::exchange(loops, 0);
        NodePtr made = body(ends);
        loops = outer;
        return made;
    }

    NodePtr if_statement() {
        int line = in.take().line; // if, elif
        Cursor::Level level(in);
        NodePtr test = parse_tuple(in, false, false, nullptr);
        NodePtr then = body({"elif", "else", "endif"}), otherwise;
        if (in.is_name("elif")) {
            otherwise = if_statement();
        } else {
            if (in.skip_name("else")) otherwise = body({"endif"});
            in.expect_name("endif");
        }
        return in.node_of(Op::if_, line, std::move(test), std::move(then), std::move(otherwise));
    }

    NodePtr for_statement() {
        int line = in.take().line;
        NodePtr to = target(false, "in");
        in.expect_name("in");
        NodePtr from = parse_tuple(in, false, false, "recursive"), condition_node, otherwise;
        if (in.skip_name("if")) condition_node = parse_expression(in);
        bool recursive = in.skip_name("recursive");
        ++loops;
        NodePtr inside = body({"endfor", "else"});
        --loops;
        if (in.skip_name("else")) otherwise = body({"endfor"});
        in.expect_name("endfor");
        NodePtr made =
            in.node_of(Op::for_, line, std::move(to), std::move(from), std::move(condition_node),
                       std::move(inside), std::move(otherwise));
        made->recursive = recursive;
        return made;
    }

    NodePtr set_statement() {
        int line = in.take().line;
        NodePtr to = target(true, nullptr);
        if (in.skip_sign("="))
            return in.node_of(Op::set, line, std::move(to), parse_tuple(in, false, true, nullptr));
        NodePtr through = in.is_sign("|") ? parse_filters(in, NodePtr()) : NodePtr();
        NodePtr inside = outside_of_loops({"endset"});
        in.expect_name("endset");
        return in.node_of(Op::set_block, line, std::move(to), std::move(through),
                          std::move(inside));
    }

    void signature(Node& macro) {
        in.expect_sign("(");
        while (!in.is_sign(")")) {
            if (!macro.names.empty()) in.expect_sign(",");
            macro.names.push_back(in.take_name());
            if (in.skip_sign("="))
                macro.keywords.emplace_back(macro.names.back(), parse_expression(in));
            else if (!macro.keywords.empty())
                in.fail_here("a parameter without a default behind one with a default");
        }
        in.expect_sign(")");
    }

    NodePtr macro_statement() {
        int line = in.take().line;
        NodePtr made = in.node(Op::macro, line);
        made->text = in.take_name();
        signature(*made);
        made->parts.push_back(outside_of_loops({"endmacro"}));
        in.expect_name("endmacro");
        return made;
    }

    NodePtr call_statement(int line) {
        NodePtr made = in.node(Op::call_block, line);
        if (in.is_sign("(")) signature(*made);
        NodePtr called = parse_expression(in);
        if (called->op != Op::call) fail_at(in.where, line, "{% call %} needs a call");
        made->parts.push_back(outside_of_loops({"endcall"}));
        made->parts.push_back(std::move(called));
        in.expect_name("endcall");
        return made;
    }

    NodePtr filter_statement(int line) {
        NodePtr through = parse_filters(in, parse_filter_behind(in, NodePtr()));
        NodePtr inside = outside_of_loops({"endfilter"});
        in.expect_name("endfilter");
        return in.node_of(Op::filter_block, line, std::move(through), std::move(inside));
    }

    NodePtr with_statement(int line) {
        NodePtr made = in.node_of(Op::with, line, NodePtr());
        while (in.current().kind != TokenKind::block_end) {
            if (made->parts.size() > 1) in.expect_sign(",");
            int target_line = in.current().line;
            NodePtr to = in.is_sign("(") ? nested_target(false) : parse_primary(in, false);
            if (in.is_sign(","))
                in.fail_here("several names at once in {% with %} are not supported");
            check_target(*to, target_line);
            in.expect_sign("=");
            made->parts.push_back(std::move(to));
            made->parts.push_back(parse_expression(in));
        }
        made->parts[0] = body({"endwith"});
        in.expect_name("endwith");
        return made;
    }

    NodePtr print_statement(int line) {
        NodePtr made = in.node(Op::output, line);
        while (in.current().kind != TokenKind::block_end) {
            if (!made->parts.empty()) in.expect_sign(",");
            made->parts.push_back(parse_expression(in));
        }
        return made;
    }
};

} // namespace

NodePtr parse_template(const std::string& source, const std::string& where) {
    std::vector<Token> tokens = tokenize(source, where);
    Cursor in{tokens, where};
    NodePtr root = Statements{in}.statements({});
    analyse(*root, where);
    return root;
}

} // namespace jinja
