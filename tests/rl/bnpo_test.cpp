#include "rl/advantage.h"
#include "testing.h"

static Rollouts rollouts_of(const std::vector<std::vector<double>>& rewards) {
    Rollouts r;
    for (const std::vector<double>& group : rewards) {
        for (double reward : group) {
            r.group.push_back(r.groups);
            r.reward.push_back(reward);
            r.offset.push_back(r.offset.back() + 1);
        }
        ++r.groups;
    }
    return r;
}

// p = 1/4, 1/2, 3/4, 1/2: m = 1/2, v = (1/16 + 1/16)/3 = 1/24, a + b = 6 - 1 = 5, alpha = beta = 1 + 5/6.
TEST(Bnpo, TheDivisorIsTheDensityOfTheBatchsBetaDistribution) {
    const Rollouts r = rollouts_of({{1, 0, 0, 0}, {1, 1, 0, 0}, {1, 1, 1, 0}, {0.5, 0.5, 1, 0}});
    const Advantages A = advantages(r, preset_algorithm("bnpo"));
    const double alpha = 1 + 5.0 / 6;
    const double B = std::tgamma(alpha) * std::tgamma(alpha) / std::tgamma(2 * alpha);
    auto f = [&](double p) { return std::pow(p * (1 - p), alpha - 1) / B; };
    EXPECT_TRUE(close(A.token[0], 0.75 / f(0.25), 1e-12));
    EXPECT_TRUE(close(A.token[1], -0.25 / f(0.25), 1e-12));
    EXPECT_TRUE(close(A.token[4], 0.5 / f(0.5), 1e-12));
    EXPECT_EQ(A.token[12], 0) << "0.5 is its prompt's mean";
}

TEST(Bnpo, OneDistributionlessBatchIsDrGrpo) {
    const Rollouts r = rollouts_of({{1, 0, 0, 1}, {0, 1, 1, 0}}); // the same p: no variance
    EXPECT_EQ(advantages(r, preset_algorithm("bnpo")).token,
              advantages(r, preset_algorithm("dr_grpo")).token);
}

TEST(Bnpo, RewardsOutsideTheirRangeAreAnErrorThatNamesTheKeys) {
    const Rollouts r = rollouts_of({{3, 5}, {1, 0}});
    AlgoConfig algo = preset_algorithm("bnpo");
    try {
        advantages(r, algo);
        FAIL() << "a mean of 4 is no probability";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("algo.bnpo.reward_max"), std::string::npos);
    }
    algo.own["bnpo.reward_max"] = 5;
    EXPECT_GT(advantages(r, algo).token[1], 0);
    const Rollouts silent = rollouts_of({{1, 1}, {0}, {1, 0}});
    const Advantages A = advantages(silent, preset_algorithm("bnpo"));
    for (int n : {0, 1, 2}) EXPECT_EQ(A.token[n], 0);
}
