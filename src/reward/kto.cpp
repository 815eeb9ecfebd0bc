#include "reward/kto.h"

#include "base/check.h"
#include "credit/sigmoid.h"

double kto_loss(std::span<const double> logp, std::span<const double> logp_ref, double label,
                double z0, double beta, double desirable, double undesirable,
                std::span<double> dlogp) {
    CHECK(logp.size() == logp_ref.size(), "kto: %zu log-probabilities but %zu of the reference",
          logp.size(), logp_ref.size());
    CHECK(label == 0 || label == 1, "an answer's label is %g; it must be 0 or 1", label);
    double r = 0;
    for (size_t t = 0; t < logp.size(); ++t) r += logp[t] - logp_ref[t];
    const double sign = label == 1 ? 1 : -1, lambda = label == 1 ? desirable : undesirable;
    const double felt = sign * beta * (r - z0), s = sigmoid(felt);
    for (double& d : dlogp) d = -sign * lambda * beta * s * sigmoid(-felt);
    return lambda * sigmoid(-felt);
}
