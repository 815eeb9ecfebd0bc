#pragma once
// Preference-grounded token-level guidance [Yang et al. 2023, arXiv 2306.00398, eq. 3, with the
// average as aggregation; the form is strategy "pgtg" of Q-RM's code]: token rewards sigma(z),
// preferences by their means, sharpened by the pair's length.
//
//   c = (N + M) / 2       d = c (mean_t sigma(z^w_t) - mean_t sigma(z^l_t))       L = softplus(-d)
//   dL/dz^w_t = -sigma(-d) c / N sigma(z^w_t) (1 - sigma(z^w_t))          z^l: +, with M
//
// Departures: the original re-estimates the reward model while the policy trains; here it is
// trained once.

#include <span>

// Of one pair. Writes the derivatives and returns L.
double pgtg_loss(std::span<const double> chosen, std::span<const double> rejected,
                 std::span<double> dchosen, std::span<double> drejected);
