#include "reward/cpo.h"

#include "credit/sigmoid.h"

#include <algorithm>

double cpo_loss(std::span<const double> chosen, std::span<const double> rejected, double beta,
                std::span<double> dchosen, std::span<double> drejected) {
    double d = 0;
    for (double logp : chosen) d += beta * logp;
    for (double logp : rejected) d -= beta * logp;
    std::ranges::fill(dchosen, -beta * sigmoid(-d));
    std::ranges::fill(drejected, beta * sigmoid(-d));
    return softplus(-d);
}
