// GSPO: group sequence policy optimisation [Zheng et al. 2025, eq. 5 to 7].
//
//   s_i = (pi(o_i) / pi_old(o_i))^(1/|o_i|) = exp(mean_t d_it),     d_it = logp_it - logp_old_it
//   L   = 1/I sum_i clipped_surrogate(s_i, A_i),                    A_i = GRPO's
//   ds_i/dlogp_it = s_i / |o_i|,   so   dL/dlogp_it = -A_i s_i a_i / (I |o_i|):
// all tokens of a completion share one number and one clip decision. With w_it = 1/(I |o_i|) the
// loss is sum_it w_it clipped_surrogate(s_i, A_i), which is how it is written below.
//
// Under token selection the ratio and the clip still describe the whole completion, and the
// gradient reaches the kept tokens alone (D3S section 1.6): w_it = m_it / (I |T_i|).
//
// Where A varies inside a completion its mean over the tokens is taken; gspo_token keeps it per
// token.
//
// Departure from the paper: none. Clip ranges 3e-4 / 4e-4 are the authors'.
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::group_mean; // R_i - mean(R)
    algo.advantage.std = Std::unbiased;             //   / (std(R) + 1e-6)
    algo.advantage.std_eps = 1e-6;
    algo.advantage.estimator = Estimator::outcome; // A_it = A_i
    algo.clip_eps_low = 3e-4;                      // clip(s, 1 - eps_l, 1 + eps_h)
    algo.clip_eps_high = 4e-4;
    algo.aggregation = Aggregation::seq_mean_token_mean; // 1/I sum_i
}

Algorithm gspo() {
    return {.name = "gspo",
            .summary = "GRPO with the ratio of whole completions",
            .preset = preset,
            .policy = clipped_sequence}; // clipped_surrogate(s_i, A_i)
}
