#include "reward/ipo.h"

#include "base/check.h"

#include <algorithm>

static double mean_log_ratio(std::span<const double> logp, std::span<const double> logp_ref) {
    CHECK(logp.size() == logp_ref.size() && !logp.empty(),
          "ipo: %zu log-probabilities but %zu of the reference", logp.size(), logp_ref.size());
    double sum = 0;
    for (size_t t = 0; t < logp.size(); ++t) sum += logp[t] - logp_ref[t];
    return sum / (double)logp.size();
}

double ipo_loss(std::span<const double> chosen, std::span<const double> chosen_ref,
                std::span<const double> rejected, std::span<const double> rejected_ref, double beta,
                std::span<double> dchosen, std::span<double> drejected) {
    const double h = mean_log_ratio(chosen, chosen_ref) - mean_log_ratio(rejected, rejected_ref);
    const double miss = h - 1 / (2 * beta);
    std::ranges::fill(dchosen, 2 * miss / (double)chosen.size());
    std::ranges::fill(drejected, -2 * miss / (double)rejected.size());
    return miss * miss;
}
