// GRPO: group-relative policy optimisation [Shao et al. 2024, "DeepSeekMath", eq. 3 and 4].
//
//   L = 1/I sum_i 1/|o_i| sum_t { clipped_surrogate(r_it, A_i) + beta KL_it }
//   A_i = (R_i - mean(R)) / (std(R) + 1e-6) over the G completions of one prompt
//   dL/dlogp_it = -A_i r_it a_it / (I |o_i|), a_it = 0 where the clip holds: surrogate.h
//   KL_it = k3: kl.h
//
// Departure from the paper: KL is off by default (beta = 0.04 in the paper: algo.kl=k3
// algo.kl_coef=0.04). The 1e-6 is ours; the standard deviation is the unbiased one (the paper does
// not say which).
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {              // eq. 3 and 4, term by term
    algo.advantage.baseline = Baseline::group_mean; // R_i - mean(R)
    algo.advantage.std = Std::unbiased;             //   / (std(R) + 1e-6)
    algo.advantage.std_eps = 1e-6;
    algo.advantage.estimator = Estimator::outcome;       // A_it = A_i
    algo.clip_eps_low = algo.clip_eps_high = 0.2;        // clip(r, 1 - eps, 1 + eps)
    algo.kl = Kl::none;                                  // beta = 0
    algo.aggregation = Aggregation::seq_mean_token_mean; // 1/I sum_i 1/|o_i| sum_t
}

Algorithm grpo() {
    return {.name = "grpo",
            .summary = "group-relative advantage, clipped",
            .preset = preset,
            .policy = clipped_tokens}; // clipped_surrogate(r_it, A_it)
}
