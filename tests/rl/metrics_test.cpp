#include "rl/metrics.h"

#include "rl/advantage.h"
#include "rl/aggregation.h"
#include "rl/select.h"
#include "testing.h"

TEST(Metrics, OfASelectionByHand) {
    Rollouts r;
    r.offset = {0, 1, 2, 4, 6}, r.group = {0, 0, 1, 1}, r.groups = 2, r.reward = {1, 0, 2, 2};
    r.logp_old = {-1, -1, -1, -1, -1, -1}, r.logp = r.logp_old;
    r.logp[0] += std::log(1.5);
    r.logp_ref = r.logp, r.entropy = {1, 3, 5, 5, 5, 5};
    AlgoConfig algo = preset_algorithm("grpo");
    SelectConfig choice;
    choice.drop_zero = true;
    Selection kept = select(r, advantages(r, algo), algo, choice);
    BatchLoss loss = batch_loss(r, kept, weigh(r, kept, algo, Denominator::of_aggregation), algo);
    double A = 0.5 / (std::sqrt(0.5) + 1e-6);
    std::vector<std::pair<std::string, double>> want = {{"reward_mean", 1.25},
                                                        {"zero_advantage_share", 0.5},
                                                        {"kept_rows_share", 0.5},
                                                        {"kept_tokens_share", 1.0 / 3},
                                                        {"advantage_variance", A * A / 2},
                                                        {"advantage_variance_kept", A * A},
                                                        {"advantage_mean_kept", 0},
                                                        {"positive_share_kept", 0.5},
                                                        {"prompts_with_both_signs", 1},
                                                        {"clip_frac", 0.5},
                                                        {"dlogp_norm", A / 2},
                                                        {"ratio_max", 1.5},
                                                        {"kl_nats_per_token", 0},
                                                        {"entropy_nats_per_kept_token", 2},
                                                        {"entropy_nats_per_dropped_token", 5}};
    std::vector<Metric> got = update_metrics(r, kept, loss.parts, loss.grads);
    for (auto& [name, value] : want) {
        bool found = false;
        for (const Metric& metric : got)
            if (name == metric.name) {
                found = true;
                EXPECT_NEAR(metric.value, value, 1e-12) << name;
            }
        EXPECT_TRUE(found) << name;
    }
}
