#pragma once
// The doctor: laws that hold in every correct run, checked on the numbers of the step. They catch
// what loss and reward curves do not show: an advantage paired with another completion, an EOS
// without a gradient, a token trained twice or never, a policy gradient that is exactly zero.

#include "rl/loss.h"

#include <string>

enum class Health { holds, broken, not_applicable, note };

struct Finding {
    const char* law;
    Health health;
    std::string text; // what was found, with numbers
};

// Advantages of a prompt's completions sum to 0 (baseline group_mean or leave_one_out, not
// whitened).
Finding group_advantages_sum_to_zero(const Rollouts& rollouts, const Selection& kept,
                                     const AlgoConfig& algo);
// logp = logp_old before the first update of a batch, so every ratio is exactly 1.
Finding first_pass_ratio_is_one(const Rollouts& rollouts, const AlgoConfig& algo);
// The last token of a finished completion (EOS) is among the trained ones. Not applicable under
// token selection, which may drop it.
Finding eos_has_weight(const Rollouts& rollouts, const Selection& kept, const Weights& weights);
// Completions partition the tokens; a token has a weight exactly if it is kept, and is kept only in
// a kept one; weights are as many as the aggregation says (means: they sum to 1).
Finding every_token_has_one_owner(const Rollouts& rollouts, const Selection& kept,
                                  const Weights& weights, const AlgoConfig& algo);
// Terms and derivatives are numbers.
Finding loss_and_gradient_are_finite(const LossParts& parts, const BatchGrads& grads);
// A policy loss of 0, or near 0, in words: nothing kept, advantages 0, or ratio 1 with advantages
// that sum to 0 while the gradient is alive.
Finding zero_loss_explained(const Rollouts& rollouts, const Selection& kept, const Weights& weights,
                            const LossParts& parts, const BatchGrads& grads);

// All of them. weights: of the whole batch. first_pass: the rollouts' logp is from before the first
// update on them.
std::vector<Finding> examine(const Rollouts& rollouts, const Selection& kept,
                             const Weights& weights, const AlgoConfig& algo, const LossParts& parts,
                             const BatchGrads& grads, bool first_pass);

const char* health_name(Health health);
