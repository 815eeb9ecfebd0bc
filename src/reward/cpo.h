#pragma once
// CPO: contrastive preference optimisation [Xu et al. 2024, arXiv 2401.08417, eq. 3 and 4]: DPO
// with a reference that says the same of every answer, so that it is not needed, and supervised
// training on the chosen one in its place.
//
//   L = softplus(-beta (sum_t logp(chosen) - sum_t logp(rejected)))
//       + sft_coef (-mean_t logp(chosen))
//   dL/dlogp_t = -beta sigma(-d) - sft_coef / |w|   chosen,   + beta sigma(-d)   rejected
//
// SimPO [Meng et al. 2024, arXiv 2405.14734, eq. 6]: per token and with a margin, without the
// supervised term. It is Q-RM's loss on the policy's own log-probabilities (qrm.h):
//
//   d = beta (mean_t logp(chosen) - mean_t logp(rejected)) - gamma        L = softplus(-d)
//
// Departure: CPO's supervised term is a mean per token, as in TRL; the paper sums.

#include <span>

// Of one pair, without the supervised term, which is sft_loss's (reward/reward_loss.cpp). Writes
// the derivatives and returns L.
double cpo_loss(std::span<const double> chosen, std::span<const double> rejected, double beta,
                std::span<double> dchosen, std::span<double> drejected);
