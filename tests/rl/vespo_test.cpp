#include "one_completion.h"
#include "testing.h"

TEST(Vespo, TheWeightIsTheGammaKernelOfTheWholeRatio) {
    const AlgoConfig algo = preset_algorithm("vespo");
    const OneCompletion o({0.4, -0.1}, {2, -3}); // W = e^0.3; A of both signs
    const auto [loss, dlogp] = o.loss(algo);
    const double W = std::exp(0.3);
    const double up = std::pow(W, 2) * std::exp(3 * (1 - W)),
                 down = std::pow(W, 3) * std::exp(2 * (1 - W));
    EXPECT_TRUE(close(dlogp[0], -up * 2, 1e-14));
    EXPECT_TRUE(close(dlogp[1], down * 3, 1e-14));
    // the factor's gradient is stopped: L = sum_t dlogp_t logp_t
    EXPECT_TRUE(close(loss, dlogp[0] * o.logp[0] + dlogp[1] * o.logp[1], 1e-14));
}

TEST(Vespo, IsLargestAtKOverLambdaAndFadesOnBothSidesWithoutOverflow) {
    const AlgoConfig algo = preset_algorithm("vespo");
    auto phi = [&](double log_W) { return -OneCompletion({log_W}, {1}).loss(algo).second[0]; };
    const double top = std::log(2.0 / 3);
    EXPECT_EQ(phi(0), 1);
    EXPECT_GT(phi(top), phi(top - 0.01));
    EXPECT_GT(phi(top), phi(top + 0.01));
    for (double far : {-30.0, -900.0, 20.0, 900.0}) {
        EXPECT_GE(phi(far), 0);
        EXPECT_LT(phi(far), 1e-14);
    }
}
