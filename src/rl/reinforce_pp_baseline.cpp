// REINFORCE++-baseline [Hu 2025, "REINFORCE++", section 3.3]: group mean as the baseline, the scale
// from the whole batch.
//
//   A_it = whiten(R_i - mean(R) over the prompt) over all tokens of the batch
//   L    = 1/(sum_j |o_j|) sum_i sum_t clipped_surrogate(r_it, A_it)
//   dL/dlogp_it = -A_it r_it a_it / sum_j |o_j|
//
// A prompt whose rewards are all equal gets A = 0 after whitening, too: the shift of the mean would
// else teach it something that its rewards do not say. It does count in the mean and variance.
//
// Departure from the paper: no KL by default (the paper has k2 in the loss: algo.kl=k2).
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::group_mean; // R_i - mean(R) over the prompt
    algo.advantage.std = Std::none;
    algo.advantage.estimator = Estimator::outcome; // A_it = A_i
    algo.advantage.whiten = Std::population;       // (A - mean) / sqrt(var + 1e-8)
    algo.advantage.whiten_eps = 1e-8;
    algo.clip_eps_low = algo.clip_eps_high = 0.2; // clip(r, 1 - eps, 1 + eps)
    algo.aggregation = Aggregation::token_mean;   // 1/(sum_j |o_j|) sum_i sum_t
}

Algorithm reinforce_pp_baseline() {
    return {.name = "reinforce_pp_baseline",
            .summary = "group mean as baseline, whitened over the batch",
            .preset = preset,
            .policy = clipped_tokens}; // clipped_surrogate(r_it, A_it)
}
