#include "one_completion.h"
#include "testing.h"

// s~_t = sg[s] pi_t / sg[pi_t]: the completion's ratio, the token's own advantage and side of the clip.
TEST(GspoToken, EachTokenHasItsOwnSideOfTheCompletionsClip) {
    AlgoConfig algo = preset_algorithm("gspo_token");
    algo.clip_eps_low = algo.clip_eps_high = 0.05;
    const OneCompletion o({0.3, -0.1, 0.1}, {2, -3, 1});
    const double s = std::exp(0.1); // above 1.05: where A > 0 the clip holds
    int64_t clipped = 0;
    const auto [loss, dlogp] = o.loss(algo, &clipped);
    EXPECT_EQ(clipped, 2);
    EXPECT_EQ(dlogp[0], 0);
    EXPECT_TRUE(close(dlogp[1], s * 3, 1e-14));
    EXPECT_EQ(dlogp[2], 0);
    EXPECT_TRUE(close(loss, -1.05 * 2 + s * 3 - 1.05, 1e-14));
}
