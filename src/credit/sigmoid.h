#pragma once
// The two functions that every loss on preferences is made of, without overflow.
//   softplus(x) = log(1 + e^x) = -log sigma(-x)        softplus'(x) = sigma(x)

#include <algorithm>
#include <cmath>

inline double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
inline double sigmoid(double x) { return std::exp(-softplus(-x)); }
