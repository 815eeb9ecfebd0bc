#pragma once
// The tokens of a formula in LaTeX or plain text. Fonts, spacing, \left, \right, groups and $ leave
// none; \frac{a}{b} becomes a / b with parentheses where they are needed, \sqrt2, \sqrt{2} and the
// root sign become sqrt ( 2 ).

#include "task/rational.h"

#include <vector>

struct Token {
    enum class Kind { number, word, symbol, sign } kind; // symbol: \pi, \theta, sqrt, log
    std::string text;                                    // of a number: 1234.5 for 1,234.50
    Number number;
    bool spaced = false; // white space stood before it
    bool prose = false;  // in \text{..}
    bool is(const char* sign) const { return kind == Kind::sign && text == sign; }
};
using Tokens = std::vector<Token>;

inline bool is_open(const Token& t) { return t.is("(") || t.is("[") || t.is("{") || t.is("<<"); }
inline bool is_close(const Token& t) { return t.is(")") || t.is("]") || t.is("}") || t.is(">>"); }

const int deepest_formula = 40; // groups in groups; what lies deeper is left out

Tokens formula_tokens(const std::string& text);
