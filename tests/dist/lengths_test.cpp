#include "dist/lengths.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>

TEST(Lengths, BinsAreQuartersOfAnOctave) {
    LengthHistogram histogram;
    for (int length : {1, 2, 4, 256, 65536, 1000000}) histogram.add(length);
    // 2^(k/4): 1 is at k = 0, 2 at 4, 4 at 8, 256 at 32; from 65536 on everything is in the last.
    for (int k : {0, 4, 8, 32}) EXPECT_EQ(histogram.count[k], 1) << k;
    EXPECT_EQ(histogram.count[63], 2);
    EXPECT_EQ(histogram.total(), 6);
    EXPECT_EQ(histogram.longest, 1000000);
    EXPECT_ANY_THROW(histogram.add(0));
}

TEST(Lengths, QuantilesLieBetweenABinsEdgesByTheLogarithm) {
    LengthHistogram histogram;
    for (int i = 0; i < 4; ++i) histogram.add(16); // [16, 19.03)
    for (int i = 0; i < 4; ++i) histogram.add(64); // [64, 76.1)
    EXPECT_DOUBLE_EQ(histogram.quantile(0), 16);
    EXPECT_DOUBLE_EQ(histogram.quantile(0.25), std::exp2(4.125));
    EXPECT_DOUBLE_EQ(histogram.quantile(0.5), 64);
    EXPECT_DOUBLE_EQ(histogram.quantile(0.99), 64); // none was longer
    EXPECT_EQ(LengthHistogram().quantile(0.5), 0);
}

TEST(Lengths, WhatIsSpreadHasTheSumOfWhatWasCounted) {
    const std::vector<int> drawn = draw_lengths(20000, 400, 1, 8192, 3);
    LengthHistogram histogram, half, other;
    for (size_t i = 0; i < drawn.size(); ++i) histogram.add(drawn[i]);
    for (size_t i = 0; i < drawn.size(); ++i) (i % 2 ? half : other).add(drawn[i]);
    const std::vector<int> spread = histogram.spread(5000, 1);
    auto mean = [](const std::vector<int>& x) {
        return (double)std::accumulate(x.begin(), x.end(), 0LL) / (double)x.size();
    };
    EXPECT_NEAR(mean(drawn), 400, 12);
    EXPECT_NEAR(mean(spread), mean(drawn), 0.02 * mean(drawn));
    EXPECT_EQ(histogram.spread(5000, 1), spread);
    EXPECT_NE(histogram.spread(5000, 2), spread);
    half.add(other);
    EXPECT_EQ(half.count, histogram.count);
    EXPECT_EQ(half.longest, histogram.longest);
}
