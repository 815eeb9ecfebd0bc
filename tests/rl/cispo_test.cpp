#include "one_completion.h"
#include "testing.h"

// The factor is a constant of the loss: L = sum_t dlogp_t logp_t.
TEST(Cispo, TheFactorIsCappedAndItsGradientStopped) {
    AlgoConfig algo = preset_algorithm("cispo");
    algo.ratio_cap = 1.2;
    const OneCompletion o({1.0, -0.5, 0.1}, {2, -3, 1});
    int64_t capped = 0;
    const auto [loss, dlogp] = o.loss(algo, &capped);
    EXPECT_EQ(capped, 1);
    EXPECT_TRUE(close(dlogp[0], -1.2 * 2, 1e-14)) << "the capped token keeps its say";
    EXPECT_TRUE(close(dlogp[1], std::exp(-0.5) * 3, 1e-14));
    EXPECT_TRUE(close(dlogp[2], -std::exp(0.1), 1e-14));
    double sum = 0;
    for (size_t t = 0; t < 3; ++t) sum += dlogp[t] * o.logp[t];
    EXPECT_TRUE(close(loss, sum, 1e-14));
    algo.ratio_cap = 0; // none
    EXPECT_TRUE(close(o.loss(algo).second[0], -std::exp(1.0) * 2, 1e-14));
}
