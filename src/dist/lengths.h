#pragma once
// How long texts are: what ranks tell each other of it, in numbers that can be added up.

#include <array>
#include <cstdint>
#include <vector>

struct LengthHistogram {
    // Bin k holds lengths in [2^(k/4), 2^((k+1)/4)), the last one those above, too.
    std::array<int64_t, 64> count{};
    int longest = 0;

    void add(int length); // at least 1
    void add(const LengthHistogram& other);
    int64_t total() const;
    // The length below which a share p of the texts lies; within a bin lengths are taken to be evenly
    // spread by their logarithm. 0 <= p < 1; 0 without any text.
    double quantile(double p) const;
    // n lengths whose distribution is this one: the quantiles (i + 1/2) / n, in an order that depends
    // on the seed alone. At least 1 each.
    std::vector<int> spread(int64_t n, uint64_t seed) const;
};

// What is known of texts that nobody has written: evenly spread over 1 .. longest.
LengthHistogram any_length_up_to(int longest);

// n lengths of a log-normal distribution with this mean, within [1, longest].
std::vector<int> draw_lengths(int64_t n, double mean, double sigma, int longest, uint64_t seed);
