// Dr. GRPO: GRPO done right [Liu et al. 2025, "Understanding R1-Zero-like training", section 3.2].
//
//   L = 1/(I L_max) sum_i sum_t clipped_surrogate(r_it, A_i),  A_i = R_i - mean(R) over the prompt
//   dL/dlogp_it = -A_i r_it a_it / (I L_max)
//
// The two divisors that GRPO has and this has not: std(R), which favours prompts that are nearly
// always or nearly never solved, and |o_i|, which makes a long wrong answer cheaper per token than
// a short one.
//
// Departure from the paper: none. L_max is algo.max_length_norm; a run takes sample.max_new_tokens.
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::group_mean;          // R_i - mean(R)
    algo.advantage.std = Std::none;                          //   and no deviation below it
    algo.advantage.estimator = Estimator::outcome;           // A_it = A_i
    algo.clip_eps_low = algo.clip_eps_high = 0.2;            // clip(r, 1 - eps, 1 + eps)
    algo.aggregation = Aggregation::seq_mean_token_sum_norm; // 1/(I L_max) sum_i sum_t
}

Algorithm dr_grpo() {
    return {.name = "dr_grpo",
            .summary = "GRPO without its two biases",
            .preset = preset,
            .policy = clipped_tokens}; // clipped_surrogate(r_it, A_it)
}
