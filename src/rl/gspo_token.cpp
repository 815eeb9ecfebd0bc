// GSPO-token [Zheng et al. 2025, "Group sequence policy optimization", eq. 13 and 14]: GSPO for
// advantages that vary inside a completion.
//
//   s~_it = sg[s_i] pi_it / sg[pi_it]  (its value is s_i, its derivative by logp_it is s_i)
//   L     = 1/I sum_i 1/|o_i| sum_t clipped_surrogate(s~_it, A_it)
//   dL/dlogp_it = -A_it s_i a(s_i, sign A_it) / (I |o_i|)
//
// Equals GSPO where A_it = A_i. s_i is over all tokens of the completion, kept or not.
//
// Departure from the paper: none. (verl caps log s at 10; here nothing is capped.)
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::group_mean; // R_i - mean(R)
    algo.advantage.std = Std::unbiased;             //   / (std(R) + 1e-6)
    algo.advantage.std_eps = 1e-6;
    algo.advantage.estimator = Estimator::outcome; // A_it = A_i
    algo.clip_eps_low = 3e-4;                      // clip(s, 1 - eps_l, 1 + eps_h)
    algo.clip_eps_high = 4e-4;
    algo.aggregation = Aggregation::seq_mean_token_mean; // 1/I sum_i 1/|o_i| sum_t
}

static double policy_loss(const CompletionView& o, const AlgoConfig& algo, PolicyGrad& grad) {
    const double s = sequence_ratio(o);
    return sum_over_tokens(o, grad,
                           [&](size_t t) { return clipped_term(s, o.advantage[t], algo); });
}

Algorithm gspo_token() {
    return {.name = "gspo_token",
            .summary = "GSPO with advantages per token",
            .preset = preset,
            .policy = {.loss = policy_loss,
                       .ratio = Ratio::sequence,
                       .keys = clip_keys,
                       .stops_gradient = true,
                       .formula = "-w s A a",
                       .ratio_formula = sequence_ratio_formula,
                       .bounds = clip_bounds_sequence,
                       .bounds_met = clip_met_sequence}};
}
