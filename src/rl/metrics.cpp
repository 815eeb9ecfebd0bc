#include "rl/metrics.h"

#include "rl/advantage.h"
#include "rl/kl.h"

#include <algorithm>
#include <cmath>

namespace {
struct Mean {
    double sum = 0, squares = 0;
    int64_t count = 0;
    void add(double x) { sum += x, squares += x * x, ++count; }
    double mean() const { return count ? sum / (double)count : 0; }
    double variance() const {
        return count ? std::max(0.0, squares / (double)count - mean() * mean()) : 0;
    }
};
} // namespace

std::vector<Metric> update_metrics(const Rollouts& r, const Selection& selection,
                                   const LossParts& parts, const BatchGrads& grads) {
    Mean reward, all, kept, ratio, kl, entropy_kept, entropy_dropped;
    int64_t positive = 0, zero = 0, tokens_kept = 0;
    double ratio_max = 0, squares = 0;
    for (int i = 0; i < r.completions(); ++i) {
        double A = selection.A.completion[i];
        reward.add(r.reward[i]);
        all.add(A);
        zero += A == 0;
        if (selection.completion[i]) kept.add(A), positive += A > 0;
    }
    for (int64_t n = 0; n < r.tokens(); ++n) {
        squares += grads.dlogp[n] * grads.dlogp[n];
        tokens_kept += selection.token[n];
        if (!r.entropy.empty())
            (selection.token[n] ? entropy_kept : entropy_dropped).add(r.entropy[n]);
        if (!r.logp_ref.empty()) kl.add(kl_term(Kl::k3, r.logp[n], r.logp[n], r.logp_ref[n]).value);
        if (r.logp_old.empty()) continue;
        ratio.add(std::exp(r.logp[n] - r.logp_old[n]));
        ratio_max = std::max(ratio_max, std::exp(r.logp[n] - r.logp_old[n]));
    }
    int both_signs = 0; // kept completions of a prompt on both sides
    for (const std::vector<int>& group : completions_by_group(r)) {
        bool plus = false, minus = false;
        for (int i : group)
            if (selection.completion[i])
                plus |= selection.A.completion[i] > 0, minus |= selection.A.completion[i] < 0;
        both_signs += plus && minus;
    }
    auto share = [](int64_t part, int64_t whole) { return whole ? (double)part / whole : 0.0; };

    std::vector<Metric> metrics = {
        {"reward_mean", reward.mean()},               // over completions
        {"reward_std", std::sqrt(reward.variance())}, // population
        {"zero_advantage_share",
         share(zero, r.completions())}, // of completions: they teach nothing
        {"kept_rows_share", share(kept.count, r.completions())},
        {"kept_tokens_share", share(tokens_kept, r.tokens())},
        {"advantage_variance", all.variance()},       // over completions, before selection
        {"advantage_variance_kept", kept.variance()}, // and after: what D3S raises
        {"advantage_mean_kept", kept.mean()},         // far from 0: selection pushes one way
        {"positive_share_kept", share(positive, kept.count)},
        {"prompts_with_both_signs", (double)both_signs}, // among the kept
        {"clip_frac", share(parts.clipped, parts.tokens)},
        {"dlogp_norm", std::sqrt(squares)}, // l2, the whole batch
    };
    if (ratio.count) metrics.push_back({"ratio_mean", ratio.mean()});
    if (ratio.count) metrics.push_back({"ratio_max", ratio_max});
    if (kl.count) metrics.push_back({"kl_nats_per_token", kl.mean()}); // k3, all tokens
    if (entropy_kept.count) metrics.push_back({"entropy_nats_per_kept_token", entropy_kept.mean()});
    if (entropy_dropped.count)
        metrics.push_back({"entropy_nats_per_dropped_token", entropy_dropped.mean()});
    return metrics;
}
