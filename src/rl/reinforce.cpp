// REINFORCE [Williams 1992, "Simple statistical gradient-following algorithms", eq. 4], with a
// baseline.
//
//   L = 1/(sum_j |o_j|) sum_i sum_t -A_i logp_it,      A_i = R_i - b
//   dL/dlogp_it = -A_i / sum_j |o_j|
//
// b is the mean reward of the batch's completions (algo.advantage.baseline=batch_mean), a moving
// average over batches (ema), or 0 (none). Completions are taken as samples of the policy that is
// trained: no ratio.
//
// Departure from the paper: the mean over tokens instead of the sum over a trajectory. The batch
// mean holds R_i itself, which scales the expected gradient by (I - 1)/I; leave_one_out has no such
// bias.
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::batch_mean; // b
    algo.advantage.std = Std::none;
    algo.advantage.estimator = Estimator::outcome; // A_it = A_i
    algo.aggregation = Aggregation::token_mean;    // 1/(sum_j |o_j|) sum_i sum_t
}

Algorithm reinforce() {
    return {.name = "reinforce",
            .summary = "policy gradient with a baseline",
            .preset = preset,
            .policy = scores}; // -A_i logp_it
}
