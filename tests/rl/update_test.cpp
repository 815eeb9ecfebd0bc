// The station "update" on a tiny network: what it hands back of its first pass.

#include "rl/update.h"

#include "rl/advantage.h"
#include "rl/select.h"
#include "testing.h"
#include "tiny_model.h"

namespace {
// Two prompts of two completions; logp_old is of another policy than the network.
struct Given {
    Rollouts r;
    RolloutTexts texts;
    Given() {
        r.groups = 2;
        r.group = {0, 0, 1, 1};
        r.reward = {1, 0, 0, 3};
        r.finished = {1, 1, 0, 1};
        texts.prompt = {random_ids(4, 37, 1), random_ids(2, 37, 2)};
        for (int i = 0; i < 4; ++i) {
            texts.completion.push_back(random_ids(2 + i, 37, 10 + i));
            r.offset.push_back(r.offset.back() + 2 + i);
        }
        for (int64_t n = 0; n < r.tokens(); ++n) r.logp_old.push_back(-3 - 0.01 * (double)n);
    }
    UpdateStats update(const Selection& kept, const AlgoConfig& algo, bool adopt) const {
        auto model = tiny_model(tiny_config(), {.dtype = DType::f64});
        Trainer trainer(*model, 64, 8);
        UpdateSettings settings;
        settings.adopt_logp_old = adopt;
        return update_policy(trainer, r, texts, kept, algo, settings);
    }
};
} // namespace

TEST(Update, AnAdoptedLogpOldMakesEveryRatioOne) {
    const Given given;
    const AlgoConfig algo = preset_algorithm("grpo");
    SelectConfig finished;
    finished.drop_truncated = true;
    const Selection kept = select(given.r, advantages(given.r, algo), algo, finished);
    const UpdateStats adopted = given.update(kept, algo, true),
                      own = given.update(kept, algo, false);
    const Rollouts seen = as_trained(given.r, adopted), as_given = as_trained(given.r, own);

    EXPECT_EQ(seen.logp_old, seen.logp) << "the ratio was taken to the first pass itself";
    EXPECT_EQ(as_given.logp_old, given.r.logp_old);
    EXPECT_EQ(as_given.logp, seen.logp) << "the network says the same";
    EXPECT_EQ(adopted.parts.clipped, 0);
    EXPECT_GT(own.parts.clipped, 0) << "logp_old is far away";
    EXPECT_GT(adopted.gap, 0.2) << "the distance to what was sampled is still told";
    EXPECT_EQ(adopted.gap, own.gap);
    // the completion that does not train was not computed
    for (double logp : tokens_of(adopted.logp, given.r, 2)) EXPECT_LE(logp, -3);
    EXPECT_EQ(tokens_of(adopted.logp, given.r, 2)[0], given.r.logp_old[given.r.offset[2]]);
    // r = 1: dL/dlogp = -w A, w = 1/(3 |o_i|)
    for (int i : {0, 1, 3})
        for (int64_t n = given.r.offset[i]; n < given.r.offset[i + 1]; ++n)
            EXPECT_TRUE(close(adopted.grads.dlogp[n],
                              -kept.A.token[n] / (3.0 * (double)given.r.length(i)), 1e-14));
}
