#pragma once
// ORPO: odds-ratio preference optimisation [Hong et al. 2024, arXiv 2403.07691, eq. 4, 6 and 7].
// Supervised training on the chosen answer and a term that lowers the odds of the rejected one; no
// reference:
//
//   m = mean_t logp            P = e^m            log odds = m - log(1 - P)
//   d = log odds(chosen) - log odds(rejected)
//   L = -m(chosen) + beta softplus(-d)                beta: the paper's lambda
//   d log odds / dm = 1 / (1 - P)
//   dL/dlogp_t = (-1 - beta sigma(-d) / (1 - P_w)) / |w|   chosen
//                beta sigma(-d) / (1 - P_l) / |l|          rejected
//
// Departures: none. (TRL's supervised term also trains the prompt's tokens.)

#include <span>

// Of one pair. Writes the derivatives and returns L.
double orpo_loss(std::span<const double> chosen, std::span<const double> rejected, double beta,
                 std::span<double> dchosen, std::span<double> drejected);
