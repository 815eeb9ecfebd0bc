// Policy optimisation with a token-level Q function as reward model [Chen et al. 2025,
// "Discriminative Policy Optimization for Token-Level Reward Models", algorithm 1]. Z_t = Z(s_t,
// a_t) is the reward model's score of the taken token (src/reward/qrm.h), the credit of the token
// here, normalised over all response tokens of the batch (credit: "normalise"):
//
//   Z_std = (Z - mean) / std
//   reinforce_qrm   A_t = Z_std_t                                  L = -(1/N) sum_t A_t logp_t
//   ppo_qrm  A_t = Z_std_t - beta KL_t - c_v V_t  L = (1/N) sum_t clipped_surrogate(r_t, A_t)
//                   V regressed on ret_t = Z_std_t - beta KL_t     + value_coef 1/2 (V_t - ret_t)^2
//
// No sum over later tokens and no GAE: Z is a Q value already. Z holds an unknown offset c(s) that
// depends on the state alone; a critic (c_v = 1) removes it, a constant baseline removes it only in
// expectation.
//
// KL_t is k1 of the sampled token, logp_old - logp_ref. Departures: the paper writes the full KL of
// the two distributions; it gives no beta and we take its code's 0.01.
//
// The _code presets follow the authors' public code where it departs from the paper: KL_t =
// |logp_old - logp_ref|, c_v = 0.01 on V over its own deviation; with it go {"normalise": "std",
// "eos": "mean"} in the credit (divided by the deviation, mean kept; EOS gets the mean of its
// completion).
#include "rl/policy_terms.h"

static void reinforce(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::none;
    algo.advantage.estimator = Estimator::token;
    algo.advantage.credit_weight = 1;
    algo.aggregation = Aggregation::token_mean; // 1/N sum_t
}

static void ppo(AlgoConfig& algo) {
    reinforce(algo);
    algo.advantage.value_weight = 1; // - c_v V_t
    algo.kl = Kl::k1;                // - beta KL_t
    algo.kl_coef = 0.01;
    algo.kl_in = KlIn::reward;
    algo.clip_eps_low = algo.clip_eps_high = 0.2; // clip(r, 1 - eps, 1 + eps)
    algo.value_coef = 1;
}

static void ppo_code(AlgoConfig& algo) {
    ppo(algo);
    algo.advantage.value_weight = 0.01;
    algo.advantage.scale_value = true;
    algo.kl = Kl::abs;
}

Algorithm reinforce_qrm() {
    return {.name = "reinforce_qrm",
            .summary = "a token-level reward model's credit as A, no ratio",
            .preset = reinforce,
            .policy = scores};
}

Algorithm ppo_qrm() {
    return {.name = "ppo_qrm",
            .summary = "the same, clipped, with a critic as baseline and KL",
            .preset = ppo,
            .policy = clipped_tokens};
}

Algorithm ppo_qrm_code() {
    return {.name = "ppo_qrm_code",
            .summary = "as the authors' code has it",
            .preset = ppo_code,
            .policy = clipped_tokens};
}
