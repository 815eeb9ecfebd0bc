#include "reward/prm.h"

#include "base/check.h"

#include <cmath>

double prm_loss(std::span<const double> score, std::span<const double> label,
                std::span<double> dscore) {
    CHECK(score.size() == label.size() && !score.empty(), "prm: %zu scores of steps, %zu labels",
          score.size(), label.size());
    const double weight = 1 / (double)score.size();
    double loss = 0;
    for (size_t k = 0; k < score.size(); ++k) {
        CHECK(label[k] == -1 || label[k] == 0 || label[k] == 1,
              "a step's label is %g; it must be -1, 0 or 1", label[k]);
        const double tanh = std::tanh(score[k]), miss = tanh - label[k];
        loss += weight * miss * miss;
        dscore[k] = 2 * weight * miss * (1 - tanh * tanh);
    }
    return loss;
}
