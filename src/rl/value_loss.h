#pragma once
// The critic's clipped loss for one token (PPO):
//
//   L = 1/2 max((V - ret)^2, (V_clip - ret)^2),   V_clip = V_old + clip(V - V_old, -eps, eps)
//   dL/dV = V - ret   if |V - V_old| <= eps or (V - ret)^2 >= (V_clip - ret)^2;   else 0
//
// The range is tested first: inside it both squares are equal up to rounding, and a comparison of
// the two would choose at random. eps 0: no clip.

#include <algorithm>
#include <cmath>

struct ValueTerm {
    double loss, dvalue;
};

inline ValueTerm value_term(double value, double value_old, double ret, double eps) {
    double error = value - ret;
    if (eps == 0 || std::abs(value - value_old) <= eps) return {0.5 * error * error, error};
    double clipped = value_old + std::clamp(value - value_old, -eps, eps) - ret;
    if (error * error >= clipped * clipped) return {0.5 * error * error, error};
    return {0.5 * clipped * clipped, 0};
}
