#pragma once
// Mean and variance of a set, in double, in the order of the set. An empty set has 0.

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
