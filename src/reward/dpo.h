#pragma once
// DPO: direct preference optimisation [Rafailov et al. 2023, eq. 7]. Pairs instead of rollouts, so
// it is not a row of the table.
//
//   m = beta [ (logp(chosen) - logp_ref(chosen)) - (logp(rejected) - logp_ref(rejected)) ]
//   L = -(1 - eps) log sigma(m) - eps log sigma(-m)
//
// logp(.) is the sum over the completion's tokens, so every token of a side has the same
// derivative:
//   dL/dm = eps - sigma(-m)
//   dL/dlogp_t = +beta dL/dm (chosen),  -beta dL/dm (rejected)
//
// eps > 0: labels that are wrong with probability eps [Mitchell 2023, conservative DPO].
//
// Departure from the paper: none with eps = 0.

#include <span>

struct DpoTerm {
    double loss;
    double margin;             // m: the implicit reward of chosen minus that of rejected
    double dchosen, drejected; // dL/dlogp of each token of the side
    double reward_chosen, reward_rejected; // beta (logp - logp_ref), nats x beta
};

// Spans over the tokens of each side's completion.
DpoTerm dpo_loss(std::span<const double> chosen, std::span<const double> chosen_ref,
                 std::span<const double> rejected, std::span<const double> rejected_ref,
                 double beta, double label_smoothing);
