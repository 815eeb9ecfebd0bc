// GRPO: group-relative policy optimisation [Shao et al. 2024, "DeepSeekMath", eq. 3 and 4].
//
//   L = 1/N sum_i 1/|o_i| sum_t { clipped_surrogate(r_it, A_i) + beta KL_it }
//   A_i = (R_i - mean(R)) / (std(R) + 1e-6) over the G completions of one prompt
//   dL/dlogp_it = -A_i r_it a_it / (N |o_i|), a_it = 0 where the clip holds: surrogate.h
//   KL_it = k3: kl.h
//
// Departure from the paper: KL is off by default (beta = 0.04 in the paper: algo.kl=k3 algo.kl_coef=0.04).
// The 1e-6 is ours; the standard deviation is the unbiased one (the paper does not say which).
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.aggregation = "seq_mean_token_mean";
    algo.advantage.std = "unbiased";
}

Algorithm grpo_row() {
    return {"grpo", "group-relative advantage, clipped", preset, token_surrogate_loss, true, false};
}
