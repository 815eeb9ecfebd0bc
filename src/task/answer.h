#pragma once
// Final answers: finding one in a text, and comparing it with the gold answer by exact arithmetic.
//
// Finding. The last mark of the text counts, "#### x" (to the end of the line) or "\boxed{x}" (braces
// may nest). In x:
//   - after ####, the first number;
//   - in a box, what stands behind the last "=": one number with its unit; with several numbers, "(1, 2)",
//     or none, it is a text.
// Without a mark, the last number of the whole text.
//
// Numbers. Optional sign (+ - or U+2212) and currency ($ euro pound yen) in either order, digits with
// optional thousands separators in groups of three (1,234,567), decimal point, exponent (1.5e3, 1.5 x 10^3),
// fraction (3/4, \frac{3}{4}), mixed number (1 1/2), percent. LaTeX's spacing, \text{..}, \left, \right, $
// and degree signs are ignored, and so is a unit behind the number. A "-" between two numbers or behind a
// word is not a sign; digits behind a letter (x2, H2O) and behind "^" are no numbers.
//
// Comparing. By value: 0.5 = 1/2 = 50 % = .50 = 5e-1. Values are quotients of integers of any length, so
// nothing is rounded. "50%" also equals a plain 50, since gold answers often leave the sign out. A gold
// answer that is not a number is compared as a text, white space and a final period aside.

#include <optional>
#include <string>

struct
    Number { // numerator / denominator, decimal digits without leading zeros; "0" is not negative
    bool negative = false;
    std::string numerator = "0", denominator = "1";
    bool percent = false; // was written with a percent sign; the value is already divided by 100
};

// The whole text as one number with sign, currency and unit; nothing if it holds none or several.
std::optional<Number> parse_number(const std::string& text);
bool same_value(const Number& a, const Number& b);

struct Answer {
    std::string text; // as it stands in the completion, without its mark
    bool marked = false;
    std::optional<Number> number;
};

std::optional<Answer> extract_answer(const std::string& text, bool marked_only);
bool answer_matches(const Answer& answer, const std::string& gold);
// One spelling per value ("1/2" for 0.5 and 50%), for majority votes.
std::string answer_key(const Answer& answer);
