#include "reward/pgtg.h"

#include "base/check.h"
#include "credit/sigmoid.h"

double pgtg_loss(std::span<const double> chosen, std::span<const double> rejected,
                 std::span<double> dchosen, std::span<double> drejected) {
    const double N = (double)chosen.size(), M = (double)rejected.size(), c = (N + M) / 2;
    CHECK(N > 0 && M > 0, "pgtg: an answer without tokens");
    double d = 0;
    for (double z : chosen) d += c / N * sigmoid(z);
    for (double z : rejected) d -= c / M * sigmoid(z);
    const double k = sigmoid(-d) * c;
    for (size_t t = 0; t < chosen.size(); ++t)
        dchosen[t] = -k / N * sigmoid(chosen[t]) * sigmoid(-chosen[t]);
    for (size_t t = 0; t < rejected.size(); ++t)
        drejected[t] = k / M * sigmoid(rejected[t]) * sigmoid(-rejected[t]);
    return softplus(-d);
}
