// GSPO-token [Zheng et al. 2025, "Group sequence policy optimization", eq. 13 and 14]: GSPO for advantages
// that vary inside a completion.
//
//   s~_it = sg[s_i] pi_it / sg[pi_it]            (its value is s_i, its derivative by logp_it is s_i)
//   L     = 1/N sum_i 1/|o_i| sum_t clipped_surrogate(s~_it, A_it)
//   dL/dlogp_it = -A_it s_i a(s_i, sign A_it) / (N |o_i|)
//
// Equals GSPO where A_it = A_i. s_i is over all tokens of the completion, kept or not.
//
// Departure from the paper: none. (verl caps log s at 10; here nothing is capped.)
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.clip_eps_low = 3e-4, algo.clip_eps_high = 4e-4;
    algo.aggregation = "seq_mean_token_mean";
    algo.advantage.std = "unbiased";
}

static double policy_loss(const TokenRow& row, const AlgoConfig& algo, std::span<double> dlogp,
                          int64_t& clipped) {
    if (row.logp.empty()) return 0;
    double ratio = sequence_ratio(row), loss = 0;
    for (size_t t = 0; t < row.logp.size(); ++t) {
        if (row.weight[t] == 0) continue;
        Surrogate term = clipped_surrogate(ratio, row.advantage[t], algo.clip_eps_low,
                                           algo.clip_eps_high, algo.dual_clip);
        loss += row.weight[t] * term.loss;
        dlogp[t] += row.weight[t] * term.dlogp;
        clipped += term.clipped;
    }
    return loss;
}

Algorithm gspo_token_row() {
    return {"gspo_token", "GSPO with advantages per token", preset, policy_loss, true, true};
}
