#include "reward/orpo.h"

#include "base/check.h"
#include "credit/channel.h"
#include "credit/sigmoid.h"

#include <algorithm>

// log(1 - e^m) of m < 0, exact near 0 and far from it.
static double log_miss(double m) {
    return m > -0.69 ? std::log(-std::expm1(m)) : std::log1p(-std::exp(m));
}

double orpo_loss(std::span<const double> chosen, std::span<const double> rejected, double beta,
                 std::span<double> dchosen, std::span<double> drejected) {
    const double w = pooled(chosen, Pool::mean), l = pooled(rejected, Pool::mean);
    CHECK(w < 0 && l < 0, "orpo: an answer of probability 1 has no odds (mean logp %g and %g)", w,
          l);
    const double d = (w - log_miss(w)) - (l - log_miss(l)), k = beta * sigmoid(-d);
    std::ranges::fill(dchosen, (-1 + k / std::expm1(w)) / (double)chosen.size());
    std::ranges::fill(drejected, -k / std::expm1(l) / (double)rejected.size());
    return -w + beta * softplus(-d);
}
