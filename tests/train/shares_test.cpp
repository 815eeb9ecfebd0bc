#include "train/shares.h"

#include "base/rng.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>

TEST(Deal, GivesEveryPieceToOneRankAndEvensTheLoadOut) {
    Rng rng(1);
    std::vector<double> cost;
    for (int i = 0; i < 64 * 32; ++i) cost.push_back(std::exp(rng.normal()));
    const std::vector<int> owner = deal(cost, 64);
    std::vector<double> load(64);
    for (size_t i = 0; i < cost.size(); ++i) load.at(owner[i]) += cost[i];
    const double ideal = std::accumulate(cost.begin(), cost.end(), 0.0) / 64;
    EXPECT_LT(*std::max_element(load.begin(), load.end()), 1.002 * ideal);
    // What is dealt out in the order of the list, for comparison.
    std::vector<double> contiguous(64);
    for (size_t i = 0; i < cost.size(); ++i) contiguous[i / 32] += cost[i];
    EXPECT_GT(*std::max_element(contiguous.begin(), contiguous.end()), 1.3 * ideal);
}

TEST(Deal, IsTheSamePlanWhoeverMakesIt) {
    const std::vector<double> cost = {3, 1, 3, 2, 2, 1};
    EXPECT_EQ(deal(cost, 2), (std::vector<int>{0, 0, 1, 0, 1, 1}));
    EXPECT_EQ(deal(cost, 2), deal(cost, 2));
    EXPECT_EQ(deal({}, 3), std::vector<int>());
    EXPECT_EQ(deal({5}, 3), std::vector<int>{0});
}
