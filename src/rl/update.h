#pragma once
// Station "update": optimiser steps of a network on the kept completions of a batch of rollouts. The loss
// is rl/loss.h's; this file feeds it with the network's numbers and hands its derivatives back.
//
// What is not kept costs nothing: completions that are not kept are not fed to the network, nor is anything
// behind a completion's last trained token; tokens that are not kept have no row in the LM head. The prompt
// of a group goes through the network once per micro-batch.

#include "rl/loss.h"
#include "rl/select.h"
#include "train/step.h"

// The text of row i, beside its numbers in Rollouts.
struct RolloutTexts {
    std::vector<std::vector<int32_t>> prompt;     // (groups)
    std::vector<std::vector<int32_t>> completion; // (rows)
};

struct UpdateStats {
    StepStats step;   // sums over the optimiser steps; loss and grad_norm: their means
    LossParts parts;  // means over the optimiser steps; counts are sums
    int steps = 0;    // optimiser steps
    int empty = 0;    // minibatches in which no completion was kept: no step
    double lr = 0;    // of the steps
    double gap = 0;   // largest |logp - logp_sampled| of the first pass, nats
    BatchGrads grads; // of the first pass, for the doctor
};

struct UpdatePlan {
    int epochs = 1, minibatches = 1; // passes over the batch; optimiser steps per pass
    uint64_t seed = 0;               // of the order of prompts in minibatches
    bool adopt_logp_old =
        false; // logp_old becomes the first pass's logp: on-policy by construction
    bool value_with_policy = false; // the policy's network has the value head: its steps train both
    double temperature = 1;
    // Of the batch's rollout with the weights in hand: the first step starts from it (model/recording.h).
    Recording* recording = nullptr;
};

// The whole batch as sequences with every completion token listed, for evaluate_sequences.
std::vector<TrainSequence> all_tokens(const Rollouts& rollouts, const RolloutTexts& texts);

// Updates the policy. Fills rollouts.logp with the first pass's values (logp_old where a token was not
// computed). Weights are fixed per minibatch before it is cut into micro-batches.
UpdateStats update_policy(Trainer& policy, Rollouts& rollouts, const RolloutTexts& texts,
                          Plan& plan, const AlgoConfig& algo, const SelectConfig& select,
                          const UpdatePlan& how, const OptimConfig& optim, double lr);

// The same passes over the batch for a critic: a model with a classification head, read at the position
// before each token. Its loss is the value term alone.
UpdateStats update_critic(Trainer& critic, Rollouts& rollouts, const RolloutTexts& texts,
                          Plan& plan, const AlgoConfig& algo, const SelectConfig& select,
                          const UpdatePlan& how, const OptimConfig& optim, double lr);
