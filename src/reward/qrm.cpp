#include "reward/qrm.h"

#include "base/check.h"
#include "credit/sigmoid.h"

static double mean(std::span<const double> values) {
    CHECK(!values.empty(), "qrm: an answer without tokens");
    double sum = 0;
    for (double value : values) sum += value;
    return sum / (double)values.size();
}

double qrm_loss(std::span<const double> chosen, std::span<const double> rejected, double beta,
                double gamma, std::span<double> dchosen, std::span<double> drejected) {
    const double d = beta * (mean(chosen) - mean(rejected)) - gamma;
    const double k = sigmoid(-d) * beta;
    for (double& x : dchosen) x = -k / (double)chosen.size();
    for (double& x : drejected) x = k / (double)rejected.size();
    return softplus(-d);
}

double ce_anchor(std::span<const double> logp, double weight, std::span<double> dlogp) {
    double loss = 0;
    for (size_t t = 0; t < logp.size(); ++t) {
        loss -= weight * logp[t];
        dlogp[t] -= weight;
    }
    return loss;
}
