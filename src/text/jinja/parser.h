#pragma once
// Recursive descent through a template's tokens: expressions.cpp reads what stands inside of tags,
// parser.cpp the tags.

#include "text/jinja/syntax.h"

#include <algorithm>
#include <functional>

namespace jinja {

// The place in the tokens, and how nodes are made there.
struct Cursor {
    const std::vector<Token>& tokens;
    const std::string& where;
    size_t at = 0;
    int depth = 0;

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
        Cursor& cursor;
        explicit Level(Cursor& owner) : cursor(owner) {
            if (++cursor.depth > 200) cursor.fail_here("the template is nested too deep");
        }
        ~Level() { --cursor.depth; }
    };
};

NodePtr parse_expression(Cursor& in, bool with_condition = true);
// A name or a literal; with_namespace: or name.attribute, which can be assigned to.
NodePtr parse_primary(Cursor& in, bool with_namespace);
// Expressions with commas between them, up to the end of the tag, ")" or the name `end_name`: a tuple, or
// the one expression. In parentheses there may be none.
NodePtr parse_tuple(Cursor& in, bool in_parentheses, bool with_condition, const char* end_name);
NodePtr parse_tuple_of(Cursor& in, bool in_parentheses, const char* end_name,
                       const std::function<NodePtr()>& parse);
// `value` |filter |filter ...; behind the first "|" of a {% filter %} tag.
NodePtr parse_filters(Cursor& in, NodePtr value);
NodePtr parse_filter_behind(Cursor& in, NodePtr value);

} // namespace jinja
