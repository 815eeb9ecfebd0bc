#pragma once
// PPO's clipped surrogate for one token [Schulman et al. 2017, "Proximal policy optimization
// algorithms", eq. 7], as a loss to minimise, with two ranges [Yu et al. 2025, DAPO, eq. 10] and
// the second bound for negative advantages [Ye et al. 2020, "Mastering complex control in MOBA
// games", eq. 4 (dual clip)]:
//
//   L = -min(r A, clip(r, 1 - eps_low, 1 + eps_high) A),      r = exp(logp - logp_old)
//   A < 0 and dual_clip c > 0:   L = min(L, -c A)
//
// dr/dlogp = r, so dL/dlogp = -r A, or 0 where a bound has taken over:
//   A > 0 and r > 1 + eps_high,   A < 0 and r < 1 - eps_low,   A < 0 and r > c.
// The side is decided by the sign of A and by r, never by comparing the two branches: inside the
// range they are equal up to rounding. On the boundary itself the gradient is alive, as autograd's
// clamp has it.

struct Surrogate {
    double loss, dlogp;
    bool clipped;
};

inline Surrogate clipped_surrogate(double ratio, double A, double eps_low, double eps_high,
                                   double dual_clip) {
    if (A > 0 && ratio > 1 + eps_high) return {-(1 + eps_high) * A, 0, true};
    if (A < 0 && ratio < 1 - eps_low) return {-(1 - eps_low) * A, 0, true};
    if (A < 0 && dual_clip > 0 && ratio > dual_clip) return {-dual_clip * A, 0, true};
    return {-ratio * A, -ratio * A, false};
}
