#pragma once
// Policy terms that several algorithms share; the file of each algorithm has its formula. All return
// sum_t w_t L_t over the tokens with a weight and accumulate its derivative by logp.

#include "rl/algorithms.h"
#include "rl/surrogate.h"

#include <cmath>

// L_t = clipped_surrogate(r_t, A_t), r_t = exp(logp_t - logp_old_t): PPO, GRPO, DAPO, ...
inline double token_surrogate_loss(const TokenRow& row, const AlgoConfig& algo,
                                   std::span<double> dlogp, int64_t& clipped) {
    double loss = 0;
    for (size_t t = 0; t < row.logp.size(); ++t) {
        if (row.weight[t] == 0) continue;
        double ratio = std::exp(row.logp[t] - row.logp_old[t]);
        Surrogate term = clipped_surrogate(ratio, row.advantage[t], algo.clip_eps_low,
                                           algo.clip_eps_high, algo.dual_clip);
        loss += row.weight[t] * term.loss;
        dlogp[t] += row.weight[t] * term.dlogp;
        clipped += term.clipped;
    }
    return loss;
}

// L_t = -A_t logp_t: REINFORCE, RLOO. Its value is not a distance to anything; its gradient is the
// policy gradient.
inline double score_loss(const TokenRow& row, const AlgoConfig&, std::span<double> dlogp,
                         int64_t&) {
    double loss = 0;
    for (size_t t = 0; t < row.logp.size(); ++t) {
        if (row.weight[t] == 0) continue;
        loss -= row.weight[t] * row.advantage[t] * row.logp[t];
        dlogp[t] -= row.weight[t] * row.advantage[t];
    }
    return loss;
}

// GSPO's ratio: s = exp(mean over all tokens of (logp - logp_old)).
inline double sequence_ratio(const TokenRow& row) {
    double sum = 0;
    for (size_t t = 0; t < row.logp.size(); ++t) sum += row.logp[t] - row.logp_old[t];
    return std::exp(sum / (double)row.logp.size());
}
