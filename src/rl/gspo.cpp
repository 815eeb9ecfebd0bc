// GSPO: group sequence policy optimisation [Zheng et al. 2025, eq. 5 to 7].
//
//   s_i = (pi(o_i) / pi_old(o_i))^(1/|o_i|) = exp(mean_t d_it),     d_it = logp_it - logp_old_it
//   L   = 1/N sum_i clipped_surrogate(s_i, A_i),                    A_i = GRPO's
//   ds_i/dlogp_it = s_i / |o_i|,   so   dL/dlogp_it = -A_i s_i a_i / (N |o_i|):
// all tokens of a completion share one number and one clip decision. With w_it = 1/(N |o_i|) the loss is
// sum_it w_it clipped_surrogate(s_i, A_i), which is how it is written below.
//
// Under token selection the ratio and the clip still describe the whole completion, and the gradient reaches
// the kept tokens alone (D3S section 1.6): w_it = m_it / (N |T_i|).
//
// Where A varies inside a completion its mean over the tokens is taken; gspo_token keeps it per token.
//
// Departure from the paper: none. Clip ranges 3e-4 / 4e-4 are the authors'.
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.clip_eps_low = 3e-4, algo.clip_eps_high = 4e-4;
    algo.aggregation = "seq_mean_token_mean";
    algo.advantage.std = "unbiased";
}

static double policy_loss(const TokenRow& row, const AlgoConfig& algo, std::span<double> dlogp,
                          int64_t& clipped) {
    if (row.logp.empty()) return 0;
    // first + mean(A - first): exact where all are equal
    double first = row.advantage[0], rest = 0, loss = 0;
    for (double A : row.advantage) rest += A - first;
    Surrogate term = clipped_surrogate(sequence_ratio(row), first + rest / row.advantage.size(),
                                       algo.clip_eps_low, algo.clip_eps_high, algo.dual_clip);
    for (size_t t = 0; t < row.logp.size(); ++t) {
        if (row.weight[t] == 0) continue;
        loss += row.weight[t] * term.loss;
        dlogp[t] += row.weight[t] * term.dlogp;
        clipped += term.clipped;
    }
    return loss;
}

Algorithm gspo_row() {
    return {"gspo", "GRPO with the ratio of whole completions", preset, policy_loss, true, true};
}
