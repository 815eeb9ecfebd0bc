// Policy optimisation with a token-level Q function as reward model [Chen et al. 2025, "Discriminative Policy
// Optimization for Token-Level Reward Models", algorithm 1]. Z_t = Z(s_t, a_t) is the reward model's score of
// the taken token (src/reward/qrm.h), the credit of the token here, normalised over all response tokens of
// the batch (credit: "normalise"):
//
//   Z_std = (Z - mean) / std
//   reinforce_qrm   A_t = Z_std_t                                  L = -(1/N) sum_t A_t logp_t
//   ppo_qrm         A_t = Z_std_t - beta KL_t - c_v V_t            L = (1/N) sum_t clipped_surrogate(r_t, A_t)
//                   V regressed on ret_t = Z_std_t - beta KL_t     + value_coef 1/2 (V_t - ret_t)^2
//
// No sum over later tokens and no GAE: Z is a Q value already. Z holds an unknown offset c(s) that depends
// on the state alone; a critic (c_v = 1) removes it, a constant baseline removes it only in expectation.
//
// KL_t is k1 of the sampled token, logp_old - logp_ref. Departures: the paper writes the full KL of the two
// distributions; it gives no beta and we take its code's 0.01.
//
// The _code presets follow the authors' public code where it departs from the paper: KL_t = |logp_old -
// logp_ref|, c_v = 0.01 on V over its own deviation; with it go {"normalise": "std", "eos": "mean"} in the credit
// (divided by the deviation, mean kept; EOS gets the mean of its completion).

#include "rl/policy_terms.h"

#include <array>

static void reinforce(AlgoConfig& algo) {
    algo.advantage.baseline = "none";
    algo.advantage.estimator = "token";
    algo.advantage.credit_weight = 1;
}

static void ppo(AlgoConfig& algo) {
    reinforce(algo);
    algo.advantage.value_weight = 1;
    algo.kl = "k1", algo.kl_coef = 0.01, algo.kl_in = "reward";
    algo.value_coef = 1;
}

static void ppo_code(AlgoConfig& algo) {
    ppo(algo);
    algo.advantage.value_weight = 0.01;
    algo.advantage.scale_value = true;
    algo.kl = "abs";
}

std::span<const Algorithm> qrm_rows() {
    static const std::array<Algorithm, 3> rows = {{
        {"reinforce_qrm", "a token-level reward model's credit as A, no ratio", reinforce,
         score_loss, false, false},
        {"ppo_qrm", "the same, clipped, with a critic as baseline and KL", ppo,
         token_surrogate_loss, true, false},
        {"ppo_qrm_code", "as the authors' code has it", ppo_code, token_surrogate_loss, true,
         false},
    }};
    return rows;
}
