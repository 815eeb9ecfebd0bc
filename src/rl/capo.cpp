// CAPO: credit assignment policy optimisation [Xie et al. 2025, arXiv 2508.02298, eq. 2 and 3].
// GRPO with a reward per token, in which the tokens of steps that a judge called wrong are charged
// (credit/capo.h):
//
//   A_it = (c_it - mean) / (std + 1e-6)    over all tokens of all completions of the prompt
//   L = 1/I sum_i 1/|o_i| sum_t { clipped_surrogate(r_it, A_it) + beta k3_it }        I completions
//   dL/dlogp_it = -A_it r_it a_it / (I |o_i|), a_it = 0 where the clip holds: surrogate.h
//
// Statistics over tokens: a long completion weighs more, and a prompt whose answers are all right
// still teaches, by its wrong steps alone. With a share f of wrong tokens there A = -sqrt((1 - f) /
// f) on them: algo.advantage.std_floor bounds it, or algo.advantage.clip.
//
// The population's deviation, the 1e-6, the clip 0.2 and beta = 0.001 are ours; the paper does not
// say.

#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::group_mean; // c_it - mean
    algo.advantage.std = Std::population;           //   / (std + 1e-6)
    algo.advantage.std_eps = 1e-6;
    algo.advantage.estimator = Estimator::group_tokens; // over all tokens of the prompt
    algo.advantage.credit_weight = 1;                   // c_it as the source says
    algo.clip_eps_low = algo.clip_eps_high = 0.2;       // clip(r, 1 - eps, 1 + eps)
    algo.kl = Kl::k3;                                   // beta k3
    algo.kl_in = KlIn::loss;
    algo.kl_coef = 0.001;
    algo.aggregation = Aggregation::seq_mean_token_mean; // 1/I sum_i 1/|o_i| sum_t
}

Algorithm capo() {
    return {.name = "capo",
            .summary = "GRPO with a reward per token, wrong steps charged",
            .preset = preset,
            .policy = clipped_tokens}; // clipped_surrogate(r_it, A_it)
}
