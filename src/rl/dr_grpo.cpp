// Dr. GRPO: GRPO done right [Liu et al. 2025, "Understanding R1-Zero-like training", section 3.2].
//
//   L = 1/(N L_max) sum_i sum_t clipped_surrogate(r_it, A_i),     A_i = R_i - mean(R) over the prompt
//   dL/dlogp_it = -A_i r_it a_it / (N L_max)
//
// The two divisors that GRPO has and this has not: std(R), which favours prompts that are nearly always
// or nearly never solved, and |o_i|, which makes a long wrong answer cheaper per token than a short one.
//
// Departure from the paper: none. L_max is algo.max_length_norm; a run takes sample.max_new_tokens.
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) { algo.aggregation = "seq_mean_token_sum_norm"; }

Algorithm dr_grpo_row() {
    return {"dr_grpo", "GRPO without its two biases", preset, token_surrogate_loss, true, false};
}
