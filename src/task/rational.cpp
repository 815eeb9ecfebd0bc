#include "task/rational.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <vector>

// ---- whole numbers, as decimal digits -----------------------------------------------------------

static std::string trim_zeros(const std::string& digits) {
    size_t first = digits.find_first_not_of('0');
    return first == std::string::npos ? "0" : digits.substr(first);
}

static std::string multiply(const std::string& a, const std::string& b) {
    std::vector<int> sum(a.size() + b.size(), 0); // lowest first
    for (size_t i = 0; i < a.size(); ++i)
        for (size_t j = 0; j < b.size(); ++j)
            sum[i + j] += (a[a.size() - 1 - i] - '0') * (b[b.size() - 1 - j] - '0');
    std::string digits(sum.size(), '0');
    for (size_t i = 0, carry = 0; i < sum.size(); ++i) {
        carry += sum[i];
        digits[sum.size() - 1 - i] = (char)('0' + carry % 10);
        carry /= 10;
    }
    return trim_zeros(digits);
}

static std::string add(const std::string& a, const std::string& b) {
    std::string digits(std::max(a.size(), b.size()) + 1, '0');
    int carry = 0;
    for (size_t i = 0; i < digits.size(); ++i) {
        carry += (i < a.size() ? a[a.size() - 1 - i] - '0' : 0) +
                 (i < b.size() ? b[b.size() - 1 - i] - '0' : 0);
        digits[digits.size() - 1 - i] = (char)('0' + carry % 10);
        carry /= 10;
    }
    return trim_zeros(digits);
}

// ---- quotients ----------------------------------------------------------------------------------

static std::optional<Number> bounded(const Number& a) {
    if ((int)std::max(a.numerator.size(), a.denominator.size()) > longest_number)
        return std::nullopt;
    Number result = a;
    if (is_zero(a)) result.negative = false;
    return result;
}

Number decimal_number(const std::string& digits, int decimals) {
    Number a;
    a.numerator = trim_zeros(digits + std::string(std::max(-decimals, 0), '0'));
    a.denominator = "1" + std::string(std::max(decimals, 0), '0');
    return a;
}

bool same_value(const Number& a, const Number& b) {
    return a.negative == b.negative &&
           multiply(a.numerator, b.denominator) == multiply(b.numerator, a.denominator);
}

bool is_zero(const Number& a) { return a.numerator == "0"; }

std::optional<Number> product(const Number& a, const Number& b) {
    Number c;
    c.negative = a.negative != b.negative;
    c.numerator = multiply(a.numerator, b.numerator);
    c.denominator = multiply(a.denominator, b.denominator);
    return bounded(c);
}

std::optional<Number> quotient(const Number& a, const Number& b) {
    if (is_zero(b)) return std::nullopt;
    Number inverse = b;
    std::swap(inverse.numerator, inverse.denominator);
    return product(a, inverse);
}

std::optional<Number> power(const Number& base, const Number& exponent) {
    const std::string size = number_key(exponent);
    if (size.find('/') != std::string::npos || size.size() > 4) return std::nullopt;
    const int times = std::abs(std::atoi(size.c_str()));
    if (times == 0 && is_zero(base)) return std::nullopt;
    std::optional<Number> result = decimal_number("1", 0);
    for (int i = 0; i < times && result; ++i) result = product(*result, base);
    if (!result || !exponent.negative) return result;
    return quotient(decimal_number("1", 0), *result);
}

std::optional<Number> mixed_number(const Number& whole, const Number& part) {
    Number sum;
    sum.numerator = add(multiply(whole.numerator, part.denominator),
                        multiply(part.numerator, whole.denominator));
    sum.denominator = multiply(whole.denominator, part.denominator);
    return bounded(sum);
}

std::string number_key(const Number& a) {
    std::string above = a.numerator, below = a.denominator;
    while (above.size() > 1 && below.size() > 1 && above.back() == '0' && below.back() == '0')
        above.pop_back(), below.pop_back();
    if (above.size() <= 18 && below.size() <= 18) { // beyond that, the spelling stays unreduced
        long long p = std::atoll(above.c_str()), q = std::atoll(below.c_str()), g = std::gcd(p, q);
        above = std::to_string(p / g), below = std::to_string(q / g);
    }
    return (a.negative ? "-" : "") + above + (below == "1" ? "" : "/" + below);
}
