#pragma once
// Sums that are the same bits in whatever order, and so by however many ranks, they are made: additions
// of integers, which are associative. [Demmel and Nguyen 2015, "Parallel reproducible summation", is
// the general case.]
//
//   FixedPointSum   an array of gradients. x = high 2^-24 + low 2^-68, low >= 0. What is above
//                   2^-45 in an f32 loses nothing; what is below 2^-68 = 3e-21 counts as 0 (AdamW adds
//                   eps = 1e-8 to a gradient's size).
//   ExactSum        one number, of doubles of any size: nothing is lost at all.

#include "ops/collectives.h"

#include <array>
#include <cstdint>

struct FixedPointSum {
    static constexpr double high_unit = 0x1p-24, low_unit = 0x1p-68;
    // Of the sum over all terms of the largest |x| among each one's elements: below it neither of the
    // integers can overflow.
    static constexpr double most = 0x1p38;
    static constexpr int64_t most_terms = 1 << 19;

    std::vector<int64_t> parts; // (E, 2) high, low
    double largest = 0;         // sum over the terms of their largest |x|
    int64_t terms = 0;

    void begin(int64_t elements);
    // f32 or f64, on the host. The element that is not finite or not below `most`, else -1.
    int64_t add(const Tensor& term);
    double value(int64_t element) const;
};

struct ExactSum {
    // Of 2^-1074 .. 2^1024 in digits of 32 bits, each with room for the carries of 2^30 additions.
    std::array<int64_t, 68> digit{};
    int64_t additions = 0;
    void add(double x); // finite
    void add(const ExactSum& other);
    double value(); // rounded

private:
    void carry();
};
