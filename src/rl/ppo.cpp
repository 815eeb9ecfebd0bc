// PPO: proximal policy optimisation [Schulman et al. 2017, eq. 7 and 9] with generalised advantage
// estimation [Schulman et al. 2016, eq. 16].
//
//   rho_t   = [t last] R_i  (- beta (logp_old_t - logp_ref_t) with kl=k1, kl_in=reward)
//   delta_t = rho_t + gamma V_old_{t+1} - V_old_t,   V_old after the last token = 0
//   A_t     = sum_l (gamma lambda)^l delta_{t+l},    ret_t = A_t + V_old_t,   then A is whitened
//   L = 1/(sum_j |o_j|) sum_i sum_t { clipped_surrogate(r_it, A_it) + c_v value_term_it }
//   value_term = 1/2 max((V - ret)^2, (V_clip - ret)^2),  V_clip = V_old + clip(V - V_old, +-eps_v)
//
// The value term is value_loss.h; GAE is advantage.cpp. gamma = lambda = 1 makes A_t = R - V_old_t.
//
// Departure from the paper: no entropy bonus by default; the value clip is OpenAI's
// implementation's, not the paper's. value_clip 0 turns it off.
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::none;  // rho_t = [t last] R_i
    algo.advantage.estimator = Estimator::gae; // A_t = sum_l (gamma lambda)^l delta_{t+l}
    algo.gamma = algo.lambda = 1;
    algo.advantage.whiten = Std::population; // (A - mean) / sqrt(var + 1e-8)
    algo.advantage.whiten_eps = 1e-8;
    algo.clip_eps_low = algo.clip_eps_high = 0.2; // clip(r, 1 - eps, 1 + eps)
    algo.value_clip = 0.2;                        // eps_v
    algo.value_coef = 0.1;                        // c_v: as TRL has it
    algo.aggregation = Aggregation::token_mean;   // 1/(sum_j |o_j|) sum_i sum_t
}

Algorithm ppo() {
    return {.name = "ppo",
            .summary = "clipped, with a critic and GAE",
            .preset = preset,
            .policy = clipped_tokens}; // clipped_surrogate(r_it, A_it)
}
