// LUSPO: length-unbiased sequence policy optimisation [arXiv 2602.05261]: GSPO with each
// completion's term times its length.
//
//   L = 1/I sum_i |o_i| clipped_surrogate(s_i, A_i),     s_i = GSPO's, A_i = GRPO's
//   dL/dlogp_it = -A_i s_i a_i / I
//
// In GSPO a token of a long completion has a smaller say than one of a short completion (1/|o_i|),
// so that, of right answers, the short ones are learnt faster, and wrong ones are unlearnt slower
// the longer they are. Here every token has the same say. With w_it = 1/I the loss is sum_it w_it
// clipped_surrogate(s_i, A_i).
//
// Departure from the paper: none. Clip ranges 2e-3 / 2.5e-3 are the authors' (section 5.1).
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::group_mean; // R_i - mean(R)
    algo.advantage.std = Std::unbiased;             //   / (std(R) + 1e-6)
    algo.advantage.std_eps = 1e-6;
    algo.advantage.estimator = Estimator::outcome; // A_it = A_i
    algo.clip_eps_low = 2e-3;                      // clip(s, 1 - eps_l, 1 + eps_h)
    algo.clip_eps_high = 2.5e-3;
    algo.aggregation = Aggregation::seq_mean_token_sum; // 1/I sum_i |o_i|
}

Algorithm luspo() {
    return {.name = "luspo",
            .summary = "GSPO without its bias by length",
            .preset = preset,
            .policy = clipped_sequence}; // clipped_surrogate(s_i, A_i)
}
