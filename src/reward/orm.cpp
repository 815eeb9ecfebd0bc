#include "reward/orm.h"

#include "base/check.h"
#include "credit/sigmoid.h"

double orm_loss(double chosen, double rejected, double& dchosen, double& drejected) {
    const double margin = chosen - rejected;
    dchosen = -sigmoid(-margin);
    drejected = -dchosen;
    return softplus(-margin);
}

double orm_pointwise_loss(double score, double label, double focal, double& dscore) {
    CHECK(label == 0 || label == 1, "an answer's label is %g; it must be 0 or 1", label);
    const double sign = label == 1 ? 1 : -1, s = sign * score;
    const double q = sigmoid(s), miss = sigmoid(-s), log_q = -softplus(-s);
    const double weight = focal == 0 ? 1 : std::pow(miss, focal);
    dscore = sign * weight * (focal * q * log_q - miss);
    return -weight * log_q;
}
