#pragma once
// A chat template's tokens and syntax tree, as Jinja 3.1 has them with trim_blocks and lstrip_blocks.

#include "text/jinja/value.h"

namespace jinja {

enum class TokenKind : uint8_t {
    data,
    block_begin,
    block_end,
    variable_begin,
    variable_end,
    name,
    string,
    integer,
    real,
    sign, // operators and brackets
    end
};

struct Token {
    TokenKind kind = TokenKind::end;
    std::string text; // of a string without its quotes and escapes
    Value number;
    int line = 1;
};

std::vector<Token> tokenize(const std::string& source, const std::string& where);

enum class Op : uint8_t {
    // expressions
    constant,
    name,
    list,
    tuple,
    dict, // parts: key, value, key, value, ...
    attribute,
    item,
    slice, // parts: value, begin, end, step; each but the first may be missing
    call,
    filter, // parts[0] is missing in {% filter %} and {% set %}...{% endset %}
    test,
    negate,
    plus,
    logical_not,
    logical_and,
    logical_or,
    conditional, // parts: test, then, else (may be missing)
    compare,     // parts: operands; names: the signs between them
    arithmetic,  // text: the sign
    concat,      // ~
    // statements
    data,
    output,
    block, // a list of statements
    if_,   // parts: test, body, else (may be missing)
    for_,  // parts: target, iterable, condition (may be missing), body, else (may be missing)
    break_,
    continue_,
    set,                 // parts: target, value
    set_block,           // parts: target, filter (may be missing), body
    namespace_attribute, // target of a set: text.names[0]
    macro,        // text: its name; names: parameters; parts: body, defaults of the last ones
    call_block,   // parts: body, call, defaults
    filter_block, // parts: filter, body
    with,         // parts: body, target, value, target, value, ...
    generation,   // parts: body
    named_block   // text: its name; parts: body
};

struct Node;
using NodePtr = std::unique_ptr<Node>;

struct Node {
    Op op = Op::constant;
    int line = 1;
    std::string text;
    std::vector<std::string> names;
    std::vector<NodePtr> parts;
    Value value; // of a constant
    bool recursive = false;

    // Of call, filter and test. One of the last two: *list, **dict.
    std::vector<NodePtr> arguments;
    std::vector<std::pair<std::string, NodePtr>> keywords;
    NodePtr more_arguments, more_keywords;

    // Of a macro: which of varargs, kwargs and caller its body names.
    bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
    // Of what opens a scope: names that are undefined in it until they are set, whatever the caller of
    // the template gave them (Jinja decides so before it runs).
    std::vector<std::string> hidden;

    Node() = default;
    ~Node();
};

NodePtr parse_template(const std::string& source, const std::string& where);

// Fills in `hidden` and the macros' uses; unknown filters and tests are errors here where Jinja finds
// them before it runs, that is outside of conditions.
void analyse(Node& root, const std::string& where);

bool is_filter(const std::string& name);
bool is_test(const std::string& name);

[[noreturn]] void fail_at(const std::string& where, int line, const std::string& message);

} // namespace jinja
