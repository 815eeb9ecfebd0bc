#include "one_completion.h"
#include "rl/advantage.h"
#include "rl/aggregation.h"
#include "rl/loss.h"
#include "rl/select.h"
#include "testing.h"

// The paper's claim: each completion's term is GSPO's times its length.
TEST(Luspo, IsGspoTimesTheLength) {
    Rollouts r;
    r.offset = {0, 2, 7};
    r.group = {0, 0};
    r.groups = 1;
    r.reward = {1, 0};
    for (int n = 0; n < 7; ++n) {
        r.logp_old.push_back(-1);
        r.logp.push_back(-1 + 1e-3 * (n % 3)); // within both clips
    }
    auto loss_of = [&](const char* preset, int i) {
        AlgoConfig algo = preset_algorithm(preset);
        algo.clip_eps_low = algo.clip_eps_high = 1;
        const Selection kept = select(r, advantages(r, algo), algo, SelectConfig());
        const Weights w = weigh(r, kept, algo, Denominator::of_aggregation);
        std::vector<double> dlogp(r.length(i));
        return completion_loss(completion_view(r, kept, w, i), algo, {dlogp, {}, {}}).policy;
    };
    for (int i : {0, 1})
        EXPECT_TRUE(close(loss_of("luspo", i), (double)r.length(i) * loss_of("gspo", i), 1e-14));
}

TEST(Luspo, TheClipIsTheCompletions) {
    int64_t clipped = 0;
    const auto [loss, dlogp] =
        OneCompletion({0.01, 0.0, 0.02}, {1, 1, 1}).loss(preset_algorithm("luspo"), &clipped);
    EXPECT_EQ(clipped, 3);
    EXPECT_EQ(dlogp, (std::vector<double>{0, 0, 0}));
    EXPECT_TRUE(close(loss, -3 * 1.0025, 1e-14));
}
