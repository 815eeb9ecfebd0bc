#pragma once
// Station "update": the loss of one optimiser step and its derivatives, completion by completion.
//
//   L = sum_it w_it L_policy_it + sum_it w'_it { beta KL_it - c_e H_it + c_v L_value_it }
//
// w: of the kept tokens, w': of all tokens of kept completions (Plan::weight, Plan::weight_all). A row's
// terms depend on the row alone, so any cut into micro-batches gives the same sum.

#include "rl/algorithms.h"

// Adds the derivatives to `grads` (dentropy, dvalue may be empty where their term is off) and returns the
// terms.
LossParts row_loss(const TokenRow& row, const AlgoConfig& algo, RowGrads grads);

// Row i of a batch; logp, entropy and value are the stored ones.
TokenRow token_row(const Rollouts& rollouts, const Plan& plan, int i);

// The whole batch. dlogp, dentropy, dvalue: (N), overwritten.
struct BatchGrads {
    std::vector<double> dlogp, dentropy, dvalue;
};
LossParts batch_loss(const Rollouts& rollouts, const Plan& plan, const AlgoConfig& algo,
                     BatchGrads& grads);
