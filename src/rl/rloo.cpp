// RLOO: REINFORCE leave-one-out [Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for
// free!"; Ahmadian et al. 2024, "Back to basics", eq. 9].
//
//   L = 1/I sum_i -A_i sum_t logp_it,  A_i = R_i - mean over the prompt's other completions of R_j
//   dL/dlogp_it = -A_i / I
//
// A_i = G/(G-1) (R_i - mean(R)): Dr. GRPO's advantage, unbiased. KL belongs into the reward here:
// algo.kl=k1 algo.kl_in=reward.
//
// Departure from the paper: none. (TRL's RLOO has a clipped ratio of whole sequences on top.)
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::leave_one_out; // R_i - mean of the others
    algo.advantage.std = Std::none;
    algo.advantage.estimator = Estimator::outcome;      // A_it = A_i
    algo.aggregation = Aggregation::seq_mean_token_sum; // 1/I sum_i sum_t
}

Algorithm rloo() {
    return {.name = "rloo",
            .summary = "REINFORCE, baseline from the prompt's others",
            .preset = preset,
            .policy = scores}; // -A_i logp_it
}
