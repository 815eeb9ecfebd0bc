#pragma once
// KTO: Kahneman-Tversky optimisation [Ethayarajh et al. 2024, arXiv 2402.01306, eq. 7 and 8].
// Answers that are good or bad each by itself, no pairs; gains and losses are felt against a
// reference point z0:
//
//   r = sum_t (logp - logp_ref)       L = lambda_D (1 - sigma(beta (r - z0)))      y desirable
//                                     L = lambda_U (1 - sigma(beta (z0 - r)))      y undesirable
//   dL/dlogp_t = -+lambda beta s (1 - s), s the sigma above          - desirable, + undesirable
//
// z0 estimates KL(policy || reference): max(0, mean of r over the step's prompts, each with another
// prompt's answer). It is a constant in the backward pass.
//
// Departures: none; the mean of L is over all answers of the step, as in TRL.

#include <span>

// Of one answer; label 1: desirable, 0: undesirable. Writes the derivatives and returns L.
double kto_loss(std::span<const double> logp, std::span<const double> logp_ref, double label,
                double z0, double beta, double desirable, double undesirable,
                std::span<double> dlogp);
