#include "one_completion.h"
#include "testing.h"

static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(Sapo, GateByHandOnBothSidesOfZero) {
    const AlgoConfig algo = preset_algorithm("sapo");
    const auto [loss, dlogp] = OneCompletion({0.5, -0.7}, {2, -3}).loss(algo);
    const double up = std::exp(0.5), down = std::exp(-0.7);
    const double g_up = sigmoid(up - 1), g_down = sigmoid(1.05 * (down - 1));
    EXPECT_TRUE(close(loss, -4 * g_up * 2 + 4 / 1.05 * g_down * 3, 1e-14));
    EXPECT_TRUE(close(dlogp[0], -2 * up * 4 * g_up * (1 - g_up), 1e-14));
    EXPECT_TRUE(close(dlogp[1], 3 * down * 4 * g_down * (1 - g_down), 1e-14));
}

TEST(Sapo, TheGateClosesWithTheDistanceAndSoonerWhereTheTokenIsPushedDown) {
    AlgoConfig algo = preset_algorithm("sapo");
    auto gate = [&](double d, double A) {
        return -OneCompletion({d}, {A}).loss(algo).second[0] / (std::exp(d) * A);
    };
    EXPECT_EQ(gate(0, 1), 1);
    EXPECT_LT(gate(1, 1), gate(0.5, 1));
    EXPECT_LT(gate(1, -1), gate(1, 1)) << "tau_neg > tau_pos";
    algo.own["sapo.tau_pos"] = 1e-6; // no gate is left
    EXPECT_NEAR(gate(2, 1), 1, 1e-6);
}
