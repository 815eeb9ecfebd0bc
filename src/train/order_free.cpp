#include "train/order_free.h"

#include <algorithm>
#include <bit>
#include <cmath>

void FixedPointSum::begin(int64_t elements) {
    parts.assign((size_t)elements * 2, 0);
    largest = 0, terms = 0;
}

template <class T> static int64_t add_term(FixedPointSum& sum, const T* x, int64_t count) {
    double largest = 0;
    bool all_fine = true;
    int64_t* parts = sum.parts.data();
#pragma omp parallel for reduction(max : largest) reduction(&& : all_fine)
    for (int64_t i = 0; i < count; ++i) {
        const double size = std::fabs((double)x[i]);
        if (!(size < FixedPointSum::most)) {
            all_fine = false;
            continue;
        }
        largest = std::max(largest, size);
        // Powers of two: nothing here rounds but the last conversion, which cuts off below low_unit.
        const double scaled = (double)x[i] * (1 / FixedPointSum::high_unit);
        const double whole = std::floor(scaled);
        const double rest = (scaled - whole) * (FixedPointSum::high_unit / FixedPointSum::low_unit);
        parts[2 * i] += (int64_t)whole;
        parts[2 * i + 1] += (int64_t)rest;
    }
    sum.largest += largest;
    ++sum.terms;
    if (all_fine) return -1;
    return std::find_if(x, x + count,
                        [](T value) { return !(std::fabs((double)value) < FixedPointSum::most); }) -
           x;
}

int64_t FixedPointSum::add(const Tensor& term) {
    if (term.dtype == DType::f64) return add_term(*this, term.as<double>(), term.size());
    return add_term(*this, term.as<float>(), term.size());
}

double FixedPointSum::value(int64_t element) const {
    // The carry goes up first: then equal sums are equal pairs.
    const int64_t high = parts[2 * element], low = parts[2 * element + 1];
    const int64_t carry = low >> 44;
    return (double)(high + carry) * high_unit +
           (double)(low - carry * (int64_t{1} << 44)) * low_unit;
}

void ExactSum::add(double x) {
    if (x == 0) return;
    const uint64_t bits = std::bit_cast<uint64_t>(x);
    const int exponent = (int)(bits >> 52 & 0x7FF);
    uint64_t mantissa = bits & 0xFFFFFFFFFFFFFull;
    if (exponent > 0) mantissa |= 1ull << 52;
    // |x| = mantissa 2^(place - 1074)
    const int place = std::max(exponent - 1, 0), first = place / 32;
    const unsigned __int128 shifted = (unsigned __int128)mantissa << (place % 32);
    const int64_t sign = bits >> 63 ? -1 : 1;
    for (int k = 0; k < 3; ++k) digit[first + k] += sign * (int64_t)(uint32_t)(shifted >> 32 * k);
    if (++additions == 1 << 30) carry();
}

void ExactSum::add(const ExactSum& other) {
    ExactSum term = other;
    term.carry();
    carry();
    for (size_t k = 0; k < digit.size(); ++k) digit[k] += term.digit[k];
    carry();
}

// Every digit but the last comes to lie in 0 .. 2^32 - 1: one sum, one form.
void ExactSum::carry() {
    for (size_t k = 0; k + 1 < digit.size(); ++k) {
        const int64_t over = digit[k] >> 32;
        digit[k] -= over * (int64_t{1} << 32);
        digit[k + 1] += over;
    }
    additions = 0;
}

double ExactSum::value() {
    carry();
    ExactSum size = *this;
    const double sign = digit.back() < 0 ? -1 : 1;
    if (sign < 0) {
        for (int64_t& d : size.digit) d = -d;
        size.carry();
    }
    double sum = 0;
    for (size_t k = digit.size(); k-- > 0;)
        if (size.digit[k]) sum += std::ldexp((double)size.digit[k], 32 * (int)k - 1074);
    return sign * sum;
}
