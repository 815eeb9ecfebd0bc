// REINFORCE++ [Hu 2025, "REINFORCE++: a simple and efficient approach for aligning large language
// models", section 3].
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
    algo.kl = Kl::k1; // -beta (logp_old - logp_ref)
    algo.kl_in = KlIn::reward;
    algo.kl_coef = 0.01;
    algo.advantage.baseline = Baseline::none;           //   + [t last] R_i
    algo.advantage.estimator = Estimator::reward_to_go; // sum_{s >= t} gamma^(s-t) rho_is
    algo.gamma = 1;
    algo.advantage.whiten = Std::population; // (A - mean) / sqrt(var + 1e-8)
    algo.advantage.whiten_eps = 1e-8;
    algo.clip_eps_low = algo.clip_eps_high = 0.2; // clip(r, 1 - eps, 1 + eps)
    algo.aggregation = Aggregation::token_mean;   // 1/(sum_j |o_j|) sum_i sum_t
}

Algorithm reinforce_pp() {
    return {.name = "reinforce_pp",
            .summary = "PPO without a critic, whitened over the batch",
            .preset = preset,
            .policy = clipped_tokens}; // clipped_surrogate(r_it, A_it)
}
