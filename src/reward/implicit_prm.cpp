#include "reward/implicit_prm.h"

#include "base/check.h"
#include "credit/sigmoid.h"

double implicit_prm_loss(std::span<const double> logp, std::span<const double> logp_ref,
                         double label, double beta, std::span<double> dlogp) {
    CHECK(logp.size() == logp_ref.size(),
          "implicit_prm: %zu log-probabilities but %zu of the reference", logp.size(),
          logp_ref.size());
    CHECK(label == 0 || label == 1, "an answer's label is %g; it must be 0 or 1", label);
    double S = 0;
    for (size_t t = 0; t < logp.size(); ++t) S += beta * (logp[t] - logp_ref[t]);
    for (double& x : dlogp) x = beta * (sigmoid(S) - label);
    return label == 1 ? softplus(-S) : softplus(S);
}
