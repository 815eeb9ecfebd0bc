// REINFORCE++ [Hu 2025, "REINFORCE++: a simple and efficient approach for aligning large language models",
// section 3].
//
//   rho_it = -beta (logp_old_it - logp_ref_it) + [t last] R_i
//   A_it   = whiten( sum_{s >= t} gamma^(s-t) rho_is ) over all tokens of the batch
//   L      = 1/(sum_j |o_j|) sum_i sum_t clipped_surrogate(r_it, A_it)
//   dL/dlogp_it = -A_it r_it a_it / sum_j |o_j|
//
// Whitening: (A - mean) / sqrt(population variance + 1e-8).
//
// Departure from the paper: none known. Rewards are not clipped (OpenRLHF clips at +-10).
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.kl = "k1", algo.kl_in = "reward", algo.kl_coef = 0.01;
    algo.advantage.baseline = "none";
    algo.advantage.estimator = "reward_to_go";
    algo.advantage.whiten = "population";
}

Algorithm reinforce_pp_row() {
    return {"reinforce_pp", "PPO without a critic, whitened over the batch",
            preset,         token_surrogate_loss,
            true,           false};
}
