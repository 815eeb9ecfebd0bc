// DAPO: decoupled clip and dynamic sampling [Yu et al. 2025, "DAPO: an open-source LLM
// reinforcement learning system at scale", eq. 8 to 13].
//
//   L = 1/(sum_j |o_j|) sum_i sum_t clipped_surrogate(r_it, A_i; 0.2, 0.28)       (eq. 8)
//   A_i = GRPO's;  dL/dlogp_it = -A_i r_it a_it / sum_j |o_j|
//
// Clip-higher leaves room for rare tokens to grow; the token mean gives every token one voice.
// Overlong reward shaping (eq. 13) is algo.overlong_length (L_max) with algo.overlong_cache, in
// advantage.cpp:
//   R_i += factor * max(-1, -max(0, |o_i| - (L_max - L_cache)) / L_cache).
// Dynamic sampling (eq. 11: only prompts with 0 < #correct < G) belongs to the rollout; what is
// left in a batch of such groups has A = 0 and leaves the token count with select.drop_zero=true.
//
// Departure from the paper: overlong shaping is off unless overlong_length is given.
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::group_mean; // R_i - mean(R)
    algo.advantage.std = Std::unbiased;             //   / (std(R) + 1e-6)
    algo.advantage.std_eps = 1e-6;
    algo.advantage.estimator = Estimator::outcome; // A_it = A_i
    algo.clip_eps_low = 0.2;                       // clip-higher
    algo.clip_eps_high = 0.28;
    algo.aggregation = Aggregation::token_mean; // 1/(sum_j |o_j|) sum_i sum_t
}

Algorithm dapo() {
    return {.name = "dapo",
            .summary = "GRPO with clip-higher and a token mean",
            .preset = preset,
            .policy = clipped_tokens}; // clipped_surrogate(r_it, A_it)
}
