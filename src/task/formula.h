#pragma once
// What a final answer says, read from LaTeX or plain text: a number, a list, or a text in one
// spelling.
//
// A formula is a number only when it is arithmetic of numbers (sign, product, quotient, power,
// parentheses, \frac, mixed number, 1.5e3, 1.5 x 10^3, thousands separators in groups of three,
// percent) and what stands beside it is a currency, a unit or "name =". A unit is a word in
// \text{..} or \mathrm{..}, a word of three letters or more behind a space ("5 apples"), or a
// common symbol (cm, kg, km/h, m^2 behind a space); a single letter beside a number is a variable
// or i. Sums, roots, factorials, functions and formulas with letters are not worked out: they are
// compared as texts.
//
//   name    "x = 5", "5 = x", "f(2) = 5", "x \in [1, 2)", "2 + 3 = 5": the value is 5, x is kept
//   list    (1, 2), [1, 2), <1, 2>: brackets, order and parts count; {1, 2} and "1, 2", "1 and 2"
//           have no order; parts are values again. In brackets a comma always separates:
//           (100,200) is a pair.
//   text    one spelling of \frac, \dfrac and "/", of \le and <=, of products with and without
//           \cdot; fonts, spacing, \left, \right, $ and a final period are nothing
//
// Graders of MATH [Hendrycks et al. 2021] compare such normalised strings. Math-Verify hands them to
// a computer algebra system, which equates more; there x + 1 may also equal y + 1.

#include "task/rational.h"

#include <vector>

struct Value {
    enum class Kind { number, text, list } kind = Kind::text;
    Number number;
    std::string unit; // of a number, where it is an abbreviation: "cm"
    std::string text;
    std::string brackets; // of a list: "()", "[)"; "{}": without order
    std::vector<Value> parts;
    std::string name; // "x" of x = 5
    char choice = 0;  // 'B' of B, (B), "(B) 12", "B. 12"
};

Value read_value(const std::string& text);

// Equal numbers have equal values, and "50%" also equals a plain 50: gold answers often leave the
// sign out. Names and units count where both sides have one: x = 5 is not y = 5, 5 km not 5 m; but
// only variables and abbreviations do, as words have too many spellings. A letter alone equals a
// choice of that letter.
bool same_value(const Value& a, const Value& b);

// One spelling per value, for majority votes.
std::string value_key(const Value& value);
