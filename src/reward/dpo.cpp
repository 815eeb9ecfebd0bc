#include "reward/dpo.h"

#include "base/check.h"
#include "credit/sigmoid.h"

static double log_ratio(std::span<const double> logp, std::span<const double> logp_ref) {
    CHECK(logp.size() == logp_ref.size(), "dpo: %zu log-probabilities but %zu of the reference",
          logp.size(), logp_ref.size());
    double sum = 0;
    for (size_t t = 0; t < logp.size(); ++t) sum += logp[t] - logp_ref[t];
    return sum;
}

DpoTerm dpo_loss(std::span<const double> chosen, std::span<const double> chosen_ref,
                 std::span<const double> rejected, std::span<const double> rejected_ref,
                 double beta, double label_smoothing) {
    double reward_chosen = beta * log_ratio(chosen, chosen_ref);
    double reward_rejected = beta * log_ratio(rejected, rejected_ref);
    double margin = reward_chosen - reward_rejected;
    double loss = (1 - label_smoothing) * softplus(-margin) + label_smoothing * softplus(margin);
    // eps - sigma(-m)
    double dmargin = label_smoothing - sigmoid(-margin);
    return {loss, margin, beta * dmargin, -beta * dmargin, reward_chosen, reward_rejected};
}
