#pragma once
// The loss of one optimiser step and its derivatives, completion by completion. Pure: no network
// (update.h has one).
//
//   L = sum_it w_it L_policy_it + sum_it w'_it { beta KL_it - c_e H_it + c_v L_value_it }
//
// w: of the kept tokens, w': of all tokens of kept completions (Weights). A completion's terms
// depend on the completion alone, so any cut into micro-batches gives the same sum.

#include "rl/algorithms.h"

// Adds the derivatives to `grads` (dentropy, dvalue may be empty where their term is off) and
// returns the terms.
LossParts completion_loss(const CompletionView& o, const AlgoConfig& algo, CompletionGrads grads);

// Completion i of a batch; logp, entropy and value are the stored ones.
CompletionView completion_view(const Rollouts& rollouts, const Selection& kept,
                               const Weights& weights, int i);

// (N) each: the derivatives by what the network said of each token.
struct BatchGrads {
    std::vector<double> dlogp, dentropy, dvalue;
};
BatchGrads zero_grads(int64_t tokens);

// The whole batch.
struct BatchLoss {
    LossParts parts;
    BatchGrads grads;
};
BatchLoss batch_loss(const Rollouts& rollouts, const Selection& kept, const Weights& weights,
                     const AlgoConfig& algo);
