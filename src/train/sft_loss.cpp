#include "train/sft_loss.h"

Objective sft_loss(const std::vector<TrainSequence>& step,
                   std::vector<std::vector<double>> weights) {
    size_t targets = 0; // M: fixed before the step is cut into micro-batches
    for (const TrainSequence& sequence : step) targets += sequence.target.size();
    CHECK(targets > 0, "a training step without a trained token; look at data.train");
    Objective objective;
    objective.linear_in_logp = true;
    objective.loss = [mean = 1.0 / (double)targets, weights = std::move(weights)](
                         std::span<const TokenOutputs> outputs, std::span<TokenGrads> grads) {
        double loss = 0;
        for (size_t s = 0; s < outputs.size(); ++s)
            for (size_t t = 0; t < outputs[s].logp.size(); ++t) {
                const double weight = weights.empty() ? mean : mean * weights[outputs[s].index][t];
                loss -= weight * outputs[s].logp[t];
                grads[s].dlogp[t] = -weight;
            }
        return loss;
    };
    return objective;
}
