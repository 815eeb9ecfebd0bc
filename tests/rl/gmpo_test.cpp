#include "one_completion.h"
#include "testing.h"

TEST(Gmpo, TheGeometricMeanOfRatiosThatAreClippedOnOneSide) {
    const AlgoConfig algo = preset_algorithm("gmpo");
    const std::vector<double> d = {0.9, -0.9, 0.1};
    int64_t clipped = 0;
    // A > 0: 0.9 is bounded by 0.4, -0.9 is not bounded
    auto [loss, dlogp] = OneCompletion(d, {2, 2, 2}).loss(algo, &clipped);
    double g = std::exp((0.4 - 0.9 + 0.1) / 3);
    EXPECT_TRUE(close(loss, 3 * -g * 2, 1e-14));
    EXPECT_EQ(clipped, 1);
    EXPECT_EQ(dlogp[0], 0) << "only the wild token loses its gradient";
    EXPECT_TRUE(close(dlogp[1], -g * 2, 1e-14) && close(dlogp[2], -g * 2, 1e-14));
    // A < 0: the other side
    std::tie(loss, dlogp) = OneCompletion(d, {-2, -2, -2}).loss(algo, &clipped);
    g = std::exp((0.9 - 0.4 + 0.1) / 3);
    EXPECT_TRUE(close(loss, 3 * g * 2, 1e-14));
    EXPECT_EQ(dlogp[1], 0);
    EXPECT_TRUE(close(dlogp[0], g * 2, 1e-14));
}

TEST(Gmpo, IsGspoWithinTheBounds) {
    AlgoConfig gspo = preset_algorithm("gspo");
    gspo.clip_eps_low = gspo.clip_eps_high = 1;
    const OneCompletion o({0.1, -0.2, 0.15}, {1, 1, 1});
    EXPECT_EQ(o.loss(preset_algorithm("gmpo")), o.loss(gspo));
}
