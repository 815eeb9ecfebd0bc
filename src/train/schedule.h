#pragma once
// Learning rate schedules.

#include "base/check.h"

#include <cmath>
#include <cstdint>
#include <string>

// The learning rate of step s = 1 .. S, with peak eta and W warm-up steps:
//   s <= W:     eta s / W
//   constant:   eta
//   linear:     eta (1 - q)                 q = (s - 1 - W) / (S - W)
//   cosine:     eta (1 + cos(pi q)) / 2     [Loshchilov & Hutter 2017, SGDR, eq. 5, one period]
// q is 0 at the first step after the warm-up and would be 1 one step past the end, so that every step
// of the run learns something.
inline double learning_rate(const std::string& schedule, double eta, int64_t s, int64_t S,
                            int64_t W) {
    if (s <= W) return eta * (double)s / (double)W;
    if (schedule == "constant") return eta;
    double q = (double)(s - 1 - W) / (double)(S - W);
    if (schedule == "linear") return eta * (1 - q);
    CHECK(schedule == "cosine", "unknown schedule \"%s\"; it must be constant, linear or cosine",
          schedule.c_str());
    return eta * (1 + std::cos(M_PI * q)) / 2;
}
