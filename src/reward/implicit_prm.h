#pragma once
// Implicit process reward model by cross entropy [Yuan et al. 2024, arXiv 2412.01981, eq. 6]: an
// answer's reward is the log-ratio of the whole answer, so that each token's share of it is a
// process reward.
//
//   S = beta sum_t (logp_t - logp_ref_t)      L = softplus(-S) for y = 1, softplus(S) for y = 0
//   dL/dlogp_t = beta (sigma(S) - y)
//
// Departures: beta is applied, as the paper has it; Q-RM's code accepts a beta and uses 1, which is
// the default here.

#include <span>

// Writes the derivative of every token and returns L.
double implicit_prm_loss(std::span<const double> logp, std::span<const double> logp_ref,
                         double label, double beta, std::span<double> dlogp);
