#include "dist/lengths.h"

#include "base/check.h"
#include "base/rng.h"

#include <algorithm>
#include <cmath>
#include <numeric>

constexpr double bins_per_octave = 4;

void LengthHistogram::add(int length) {
    CHECK(length >= 1, "a text of %d tokens has no place in a histogram", length);
    const int bin = (int)(bins_per_octave * std::log2((double)length));
    ++count[std::min<size_t>(bin, count.size() - 1)];
    longest = std::max(longest, length);
}

void LengthHistogram::add(const LengthHistogram& other) {
    for (size_t k = 0; k < count.size(); ++k) count[k] += other.count[k];
    longest = std::max(longest, other.longest);
}

int64_t LengthHistogram::total() const {
    return std::accumulate(count.begin(), count.end(), int64_t(0));
}

double LengthHistogram::quantile(double p) const {
    double below = p * (double)total();
    for (size_t k = 0; k < count.size(); ++k) {
        if (below >= (double)count[k]) {
            below -= (double)count[k];
            continue;
        }
        const double place = below / (double)count[k];
        const double length = std::exp2(((double)k + place) / bins_per_octave);
        return std::min(length, (double)longest);
    }
    return longest;
}

std::vector<int> LengthHistogram::spread(int64_t n, uint64_t seed) const {
    std::vector<int> lengths;
    lengths.reserve((size_t)n);
    for (int64_t i = 0; i < n; ++i)
        lengths.push_back(std::max(1, (int)std::lround(quantile(((double)i + 0.5) / (double)n))));
    Rng(seed).shuffle(lengths);
    return lengths;
}

std::vector<int> draw_lengths(int64_t n, double mean, double sigma, int longest, uint64_t seed) {
    Rng rng(seed);
    // E[exp(x)] = exp(mu + sigma^2 / 2)
    const double mu = std::log(mean) - sigma * sigma / 2;
    std::vector<int> lengths;
    lengths.reserve((size_t)n);
    for (int64_t i = 0; i < n; ++i) {
        const double length = std::exp(mu + sigma * rng.normal());
        lengths.push_back((int)std::clamp(length + 0.5, 1.0, (double)longest));
    }
    return lengths;
}

LengthHistogram any_length_up_to(int longest) {
    LengthHistogram lengths;
    for (int i = 1; i <= 100; ++i) lengths.add(std::max(1, (int)((int64_t)longest * i / 100)));
    return lengths;
}
