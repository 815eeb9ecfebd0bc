#pragma once
// Mean and variance of a set, in double, in the order of the set. An empty set has 0, and its
// members are equal.

#include <algorithm>
#include <span>

inline double mean(std::span<const double> x) {
    double sum = 0;
    for (double v : x) sum += v;
    return x.empty() ? 0 : sum / (double)x.size();
}

// Mean square distance to the centre; unbiased: with n - 1, of one element 0.
inline double variance(std::span<const double> x, double centre, bool unbiased) {
    double sum = 0;
    for (double v : x) sum += (v - centre) * (v - centre);
    const double n = (double)x.size() - unbiased;
    return n > 0 ? sum / n : 0;
}

inline bool all_equal(std::span<const double> x) {
    return std::all_of(x.begin(), x.end(), [&](double v) { return v == x[0]; });
}
