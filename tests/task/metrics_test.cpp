#include "task/metrics.h"

#include "testing.h"

#include <map>

// All subsets of size k of n samples, as bit masks.
template <class F> static void for_each_subset(int n, int k, F visit) {
    for (int mask = 0; mask < 1 << n; ++mask)
        if (__builtin_popcount(mask) == k) visit(mask);
}

TEST(Metrics, PassAtKIsTheShareOfSubsetsWithARightOne) {
    for (int n : {1, 4, 7})
        for (int c = 0; c <= n; ++c)
            for (int k = 1; k <= n; ++k) {
                double hit = 0, all = 0;
                for_each_subset(n, k,
                                [&](int mask) { ++all, hit += (mask & ((1 << c) - 1)) != 0; });
                EXPECT_NEAR(pass_at_k(n, c, k), hit / all, 1e-12);
            }
    EXPECT_NEAR(pass_at_k(200, 3, 1), 3. / 200, 1e-12);
    EXPECT_THROW(pass_at_k(4, 1, 5), Error);
}

// The vote over one subset with every leader of a tie taking an equal share.
static double vote(const std::vector<std::string>& votes, const std::vector<bool>& right,
                   int mask) {
    std::map<std::string, int> count;
    for (size_t s = 0; s < votes.size(); ++s)
        if (mask >> s & 1 && (right[s] || !votes[s].empty()))
            ++count[right[s] ? "RIGHT" : votes[s]];
    int most = 0, leaders = 0;
    for (auto& [answer, c] : count) most = std::max(most, c);
    for (auto& [answer, c] : count) leaders += c == most;
    return count.count("RIGHT") && count["RIGHT"] == most ? 1. / leaders : 0;
}

TEST(Metrics, MajorityIsTheMeanOverAllSubsets) {
    Rng rng(4);
    double ties = 0;
    for (int round = 0; round < 60; ++round) {
        int n = 1 + rng.below(8);
        std::vector<std::string> votes;
        std::vector<bool> right;
        for (int s = 0; s < n; ++s) {
            int pick = rng.below(5);
            votes.push_back(pick == 4 ? "" : std::string(1, (char)('a' + pick)));
            right.push_back(pick == 0);
        }
        for (int k = 1; k <= n; ++k) {
            double sum = 0, all = 0;
            for_each_subset(n, k, [&](int mask) {
                double won = vote(votes, right, mask);
                sum += won, ++all, ties += won > 0 && won < 1;
            });
            EXPECT_NEAR(majority_at_k(votes, right, k), sum / all, 1e-12) << n << " " << k;
        }
    }
    EXPECT_GT(ties, 100);
}

TEST(Metrics, MajorityOfOneIsPassAtOne) {
    std::vector<std::string> votes = {"1", "2", "2", "", "1"};
    std::vector<bool> right = {true, false, false, false, true};
    EXPECT_NEAR(majority_at_k(votes, right, 1), pass_at_k(5, 2, 1), 1e-12);
    EXPECT_NEAR(majority_at_k(votes, right, 5), 0.5, 1e-12);                         // 2 against 2
    EXPECT_NEAR(majority_at_k({"1", "1.0", "2"}, {true, true, false}, 3), 1, 1e-12); // one party
    EXPECT_EQ(majority_at_k({"", ""}, {false, false}, 2), 0);
}

// Wilson's interval by its defining equation: |p - m| = z sqrt(p (1-p) / N) at both ends.
TEST(Metrics, OneSamplePerPromptGivesWilsonsInterval) {
    std::vector<double> values(37, 0);
    for (int i = 0; i < 11; ++i) values[i * 3] = 1;
    Estimate e = mean_over_prompts(values, 1);
    EXPECT_NEAR(e.value, 11. / 37, 1e-12);
    for (double p : {e.low, e.high})
        EXPECT_NEAR(std::abs(p - e.value), 1.959963984540054 * std::sqrt(p * (1 - p) / 37), 1e-12);
    EXPECT_LT(e.low, e.value);
    EXPECT_GT(e.high, e.value);
}

TEST(Metrics, AllRightOrAllWrongStillHasAWidth) {
    Estimate all = mean_over_prompts(std::vector<double>(20, 1), 8);
    EXPECT_NEAR(all.high, 1, 1e-12);
    EXPECT_NEAR(all.low, 20 / (20 + 1.959963984540054 * 1.959963984540054), 1e-12); // z^2 rule
    Estimate none = mean_over_prompts(std::vector<double>(20, 0), 8);
    EXPECT_NEAR(none.low, 0, 1e-12);
    EXPECT_NEAR(none.high, 1 - all.low, 1e-12);
}

TEST(Metrics, RepeatedSamplesOfAPromptAddNoCertainty) {
    // eight equal samples per prompt know no more than one
    std::vector<double> same = {1, 0, 1, 1, 0, 1, 0, 1, 1, 0};
    Estimate one = mean_over_prompts(same, 1), eight = mean_over_prompts(same, 8);
    EXPECT_EQ(one.low, eight.low);
    EXPECT_EQ(one.high, eight.high);
    // samples that vary within the prompt as much as between prompts narrow it, down to P * samples
    std::vector<double> even(10, 0.5);
    Estimate e = mean_over_prompts(even, 8);
    EXPECT_NEAR(e.high - e.value, 1.96 / 2 / std::sqrt(80 + 3.84), 1e-3);
}

// Coverage by simulation: prompts of different difficulty, 4 samples each. 95 % +- 4 sigma and some slack
// for 30 prompts; the interval that takes all samples as independent covers clearly less.
TEST(Metrics, IntervalsCoverTheTruth) {
    Rng rng(9);
    int covered = 0, naive = 0, rounds = 2000;
    for (int round = 0; round < rounds; ++round) {
        std::vector<double> values, flat;
        for (int p = 0; p < 30; ++p) {
            double chance = rng.uniform() < 0.5 ? 0.9 : 0.2, right = 0; // mean 0.55
            for (int s = 0; s < 4; ++s) {
                bool hit = rng.uniform() < chance;
                right += hit / 4.;
                flat.push_back(hit);
            }
            values.push_back(right);
        }
        Estimate e = mean_over_prompts(values, 4), f = mean_over_prompts(flat, 1);
        covered += e.low <= 0.55 && 0.55 <= e.high;
        naive += f.low <= 0.55 && 0.55 <= f.high;
    }
    EXPECT_NEAR(covered / (double)rounds, 0.95, 0.025);
    EXPECT_LT(naive / (double)rounds, 0.87);
}
