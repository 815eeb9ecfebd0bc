#pragma once
// Estimators of KL(pi || pi_ref) from the one token that was sampled [Schulman 2020, "Approximating
// KL divergence"]. With x = logp - logp_ref, delta = -x, r = exp(logp - logp_old):
//
//   name       value                     d/dlogp
//   k1         x                         1                 expected gradient 0: for the reward
//   k2         x^2 / 2                   x                 unbiased gradient on-policy
//   k3         exp(delta) - delta - 1    1 - exp(delta)    GRPO's
//   k3_ratio   r k3                      r x               as (r k3)' = r k3 + r (1 - exp(delta))
//   abs        |x|                       sign(x)           Q-RM's public code; in the reward only
//
// No clamps.

#include <cmath>

enum class Kl { none, k1, abs, k2, k3, k3_ratio };

struct KlTerm {
    double value, dlogp;
};

inline KlTerm kl_term(Kl kind, double logp, double logp_old, double logp_ref) {
    double x = logp - logp_ref;
    double k3 = std::expm1(-x) + x; // exp(delta) - 1 - delta without the cancellation near 0
    switch (kind) {
    case Kl::none:
        return {0, 0};
    case Kl::k1:
        return {x, 1};
    case Kl::abs:
        return {std::abs(x), x < 0 ? -1.0 : 1.0};
    case Kl::k2:
        return {0.5 * x * x, x};
    case Kl::k3:
        return {k3, -std::expm1(-x)};
    case Kl::k3_ratio: {
        double ratio = std::exp(logp - logp_old);
        return {ratio * k3, ratio * x};
    }
    }
    return {0, 0};
}
