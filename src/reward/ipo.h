#pragma once
// IPO: identity preference optimisation [Azar et al. 2023, arXiv 2310.12036, eq. 17]. The pair's
// gap is pulled to a fixed height instead of up without end:
//
//   h = mean_t (logp - logp_ref)(chosen) - mean_t (logp - logp_ref)(rejected)
//   L = (h - 1/(2 beta))^2
//   dL/dlogp_t = +-2 (h - 1/(2 beta)) / |y|          + chosen, - rejected
//
// Departure from the formula: means per token in place of sums, so that beta does not depend on the
// answers' length; TRL's form, which its authors have from the paper's.

#include <span>

// Of one pair. Writes the derivatives and returns L.
double ipo_loss(std::span<const double> chosen, std::span<const double> chosen_ref,
                std::span<const double> rejected, std::span<const double> rejected_ref, double beta,
                std::span<double> dchosen, std::span<double> drejected);
