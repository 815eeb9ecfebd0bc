// CISPO: clipped importance-sampling policy optimisation [MiniMax 2025, "MiniMax-M1", eq. 4 and 5].
//
//   L = 1/(sum_j |o_j|) sum_i sum_t -sg[min(r_it, cap)] A_i logp_it,      A_i = GRPO's
//   dL/dlogp_it = -min(r_it, cap) A_i / sum_j |o_j|
//
// The weight is clipped, never the gradient: every token keeps a say, also the rare ones that PPO's clip
// silences first. `clipped` counts the tokens at the cap.
//
// Departure from the paper: none known; cap = 5 is TRL's, the paper gives no number. cap 0: no cap.
#include "rl/policy_terms.h"

#include <algorithm>

static void preset(AlgoConfig& algo) {
    algo.ratio_cap = 5;
    algo.advantage.std = "unbiased";
}

static double policy_loss(const TokenRow& row, const AlgoConfig& algo, std::span<double> dlogp,
                          int64_t& clipped) {
    double loss = 0;
    for (size_t t = 0; t < row.logp.size(); ++t) {
        if (row.weight[t] == 0) continue;
        double ratio = std::exp(row.logp[t] - row.logp_old[t]);
        if (algo.ratio_cap > 0 && ratio > algo.ratio_cap) ratio = algo.ratio_cap, ++clipped;
        double g = -row.weight[t] * ratio * row.advantage[t];
        loss += g * row.logp[t];
        dlogp[t] += g;
    }
    return loss;
}

Algorithm cispo_row() {
    return {"cispo", "the importance weight is clipped, not the gradient",
            preset,  policy_loss,
            true,    false};
}
