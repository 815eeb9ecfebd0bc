#pragma once
// Station "update": optimiser steps of a network on the kept completions of a batch of rollouts.
// The loss is rl/loss.h's; this file feeds it with the network's numbers and hands its derivatives
// back.
//
// What is not kept costs nothing: completions that are not kept are not fed to the network, nor is
// anything behind a completion's last trained token; tokens that are not kept have no row in the LM
// head. The prompt of a group goes through the network once per micro-batch.

#include "rl/loss.h"
#include "train/step.h"

// The ids of a batch, beside its numbers in Rollouts.
struct RolloutTexts {
    std::vector<std::vector<int32_t>> prompt;     // (B)
    std::vector<std::vector<int32_t>> completion; // (I)
};

struct UpdateSettings {
    int epochs = 1, minibatches = 1; // passes over the batch; optimiser steps per pass
    uint64_t seed = 0;               // of the order of prompts in minibatches
    // logp_old becomes the first pass's logp: on-policy by construction
    bool adopt_logp_old = false;
    // The policy's network has the value head: its steps train both.
    bool value_with_policy = false;
    double temperature = 1;
    Denominator denominator = Denominator::of_aggregation; // select.denominator, of the weights
    OptimConfig optim;
    double lr = 0;
    // Of the batch's rollout with the weights in hand: the first step starts from it
    // (model/recording.h).
    Recording* recording = nullptr;
};

struct UpdateStats {
    StepStats step;  // sums over the optimiser steps; loss and grad_norm: their means
    LossParts parts; // means over the optimiser steps; counts are sums
    int steps = 0;   // optimiser steps
    int empty = 0;   // minibatches in which no completion was kept: no step
    double gap = 0;  // largest |logp - logp_old| of the first step, nats
    // Of the first pass: (N) logp as the network said it, logp_old where a token was not computed;
    // whether the ratio was taken to it (adopt_logp_old); and the derivatives.
    std::vector<double> logp;
    bool adopted = false;
    BatchGrads grads;
};

// The whole batch as sequences with every completion token listed, for evaluate_sequences.
std::vector<TrainSequence> all_tokens(const Rollouts& rollouts, const RolloutTexts& texts);

// Updates the policy. Weights are fixed per minibatch before it is cut into micro-batches.
UpdateStats update_policy(Trainer& policy, const Rollouts& rollouts, const RolloutTexts& texts,
                          const Selection& kept, const AlgoConfig& algo,
                          const UpdateSettings& settings);

// The same passes over the batch for a critic: a model with a classification head, read at the
// position before each token. Its loss is the value term alone.
UpdateStats update_critic(Trainer& critic, const Rollouts& rollouts, const RolloutTexts& texts,
                          const Selection& kept, const AlgoConfig& algo,
                          const UpdateSettings& settings);

// The numbers as the loss of the first pass saw them: logp of that pass, and logp_old where it was
// adopted.
Rollouts as_trained(Rollouts rollouts, const UpdateStats& update);
