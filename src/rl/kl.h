#pragma once
// Estimators of KL(pi || pi_ref) from the one token that was sampled [Schulman 2020, "Approximating KL
// divergence"]. With x = logp - logp_ref, delta = -x, r = exp(logp - logp_old):
//
//   name       value                     d/dlogp
//   k1         x                         1                 expected gradient 0: belongs in the reward
//   k2         x^2 / 2                   x                 unbiased gradient on-policy
//   k3         exp(delta) - delta - 1    1 - exp(delta)    GRPO's
//   k3_ratio   r k3                      r x               (r k3)' = r k3 + r (1 - exp(delta)) = r x
//   abs        |x|                       -                 Q-RM's public code; in the reward only
//
// No clamps.

#include <cmath>
#include <string>

enum class Kl { none, k1, k2, k3, k3_ratio };

inline Kl kl_named(const std::string& name) {
    if (name == "k1") return Kl::k1;
    if (name == "k2") return Kl::k2;
    if (name == "k3") return Kl::k3;
    if (name == "k3_ratio") return Kl::k3_ratio;
    return Kl::none;
}

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
