#pragma once
// Exact numbers of any length, for the comparison of answers: quotients of whole numbers in decimal
// digits.

#include <optional>
#include <string>

struct Number { // numerator / denominator, digits without leading zeros; "0" is not negative
    bool negative = false;
    std::string numerator = "0", denominator = "1";
    bool percent = false; // was written with a percent sign; the value is already divided by 100
};

const int longest_number = 400; // digits of a part; what needs more is no answer

// digits / 10^decimals; decimals may be negative.
Number decimal_number(const std::string& digits, int decimals);
bool same_value(const Number& a, const Number& b);
bool is_zero(const Number& a);
// Nothing: the result has too many digits, or there is none (division by 0).
std::optional<Number> product(const Number& a, const Number& b);
std::optional<Number> quotient(const Number& a, const Number& b);
// exponent: a whole number.
std::optional<Number> power(const Number& base, const Number& exponent);
// whole + part, both not negative (a mixed number).
std::optional<Number> mixed_number(const Number& whole, const Number& part);
// One spelling per value: "1/2", "-3".
std::string number_key(const Number& a);
