#pragma once
// One optimiser step for any objective: pack sequences into micro-batches under a token budget,
// forward, objective, backward, clip, AdamW. All of SFT, reward models and RL train through this
// function.

#include "model/recording.h"
#include "train/order_free.h"

#include <span>

// A sequence of the step. `target` lists the positions t >= 1 (increasing) whose token is trained
// or scored: the outputs below have one entry per target, for predicting ids[t] from ids[0 .. t-1].
struct TrainSequence {
    std::vector<int32_t> ids;
    std::vector<int32_t> target;
    int prefix = 0; // bidirectional prefix, 0: causal
    // Sequences of one bundle (consecutive) stay in one micro-batch: the two sides of a pair, the
    // completions of a prompt. -1: alone.
    int bundle = -1;
    // Consecutive sequences with the same prompt >= 0 have their first `shared` tokens in common.
    // Within a micro-batch these go through the network once; their keys and values serve all, and
    // their gradient is summed. No target may lie among them: target[0] > shared.
    int prompt = -1, shared = 0;
    int completion = -1; // its number in a recorded rollout, whose prompts are numbered by `prompt`
};

// What is asked of the network for every target.
struct Wanted {
    double temperature = 1; // of logp and entropy
    bool logp = true, entropy = false, value = false;
    // Where the value of target t is read: at t itself (Q-RM), else at t - 1 (the state of a
    // critic).
    bool value_at_own_token = false;
    bool logit = false; // the token's own, as the LM head gives it (no temperature)
};

// What the network says of one sequence, and what the objective answers. Arrays over its targets.
struct TokenOutputs {
    int index;                                           // of the sequence in the step
    std::span<const double> logp, entropy, value, logit; // those that were asked for, else empty
};
struct TokenGrads {
    std::span<double> dlogp, dentropy, dvalue, dlogit; // zero on entry
};

// The objective sees the sequences of one micro-batch. Its weights are fixed for the whole step
// before the cut, so the cut cannot change the sum. Returns the micro-batch's share of the loss.
struct Objective {
    std::function<double(std::span<const TokenOutputs>, std::span<TokenGrads>)> loss;
    Wanted wants;
    // dlogp does not depend on logp (SFT): saves one pass over the head.
    bool linear_in_logp = false;
};

struct OptimConfig {
    double lr = 1e-4, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0, grad_clip = 1;
};

struct StepStats {
    double loss = 0, grad_norm = 0;  // norm before clipping
    int64_t tokens = 0, targets = 0; // tokens of all sequences, prompts included; trained ones
    int64_t computed = 0;            // tokens that went through the network
    int64_t recorded = 0;            // of these: forward in the rollout already
    int micro_batches = 0;
    double seconds = 0; // of forward, backward and update
};

// Gradients, AdamW moments and, where the network reads weights rounded to bf16, their f32 masters:
// flat arrays of E elements in the layout of the parameters. With several ranks
// (model.compute.ranks) each holds moments and masters of one equal part, whatever tensors that
// part cuts through [Rajbhandari et al. 2020, ZeRO, stage 1].
struct Trainer {
    Trainer(Model& model, int tokens_per_micro_batch, int max_sequences);
    Model& model;
    Params grads;
    Tensor flat_grads;    // (E)
    bool none_yet = true; // no micro-batch of the step has written the gradients of `layers`
    // (E / ranks) of this rank; master is empty where the weights are not rounded
    Tensor m, v, master;
    Tensor sums;         // (parameters + 4) f64: of the step, on their way to the host
    FixedPointSum exact; // at dist.determinism=2: (E), of the units' gradients
    Arena grad_arena{"gradients"}, moment_arena{"AdamW moments and masters"};
    Pass pass;
    int tokens_per_micro_batch;
    int64_t t = 0; // optimiser steps done

    struct Piece { // elements of the flat arrays
        int64_t first = 0, count = 0;
    };
    int rank() const { return model.compute.ranks ? model.compute.ranks->rank : 0; }
    Piece part() const { return {rank() * m.size(), m.size()}; } // of this rank
    Piece layers() const;                                        // between embedding and last norm
    Piece place(size_t parameter) const;
    Piece own_piece(size_t parameter) const;   // what of it lies in this rank's part
    void add_exactly(const Tensor& gradients); // to `exact`
};

// Gradients of nothing yet: zeroes what ops add to. The layers' are written by the first micro-batch.
void begin_gradients(Trainer& trainer);
// The pass's micro-batch, from its dx on.
void add_backward(Trainer& trainer);

// Accumulates the gradients of the whole step; with several ranks each computes a
// share of the sequences and has the sums of its part of the gradients, and all have the same
// stats. Fails, naming the first bad tensor, if the loss or a gradient is not finite. recording
// (may be null): of the sequences' rollout with the present weights, in this trainer's pass. It is
// used up; all sequences are then one micro-batch without a forward pass, and only logp and entropy
// can be asked for.
StepStats accumulate_gradients(Trainer& trainer, const std::vector<TrainSequence>& sequences,
                               const Objective& objective, Recording* recording = nullptr);
// Clips by global norm, updates, refreshes the GEMM forms. lr: of this step.
void apply_update(Trainer& trainer, const OptimConfig& optim, double lr, StepStats& stats);

// Makes the network read what the masters say (of all ranks), and refreshes the GEMM forms.
void publish_weights(Trainer& trainer);

// Returns when every rank has called it.
void wait_for_ranks(Trainer& trainer);

// The end of accumulate_gradients: adds up over the ranks, norm and checks.
void reduce_gradients(Trainer& trainer, StepStats& stats);
// The same of trainer.exact and of the losses of units that were computed by themselves. All sums are
// the same bits for any number of ranks.
struct UnitLoss {
    int first_sequence;
    double loss;
};
void reduce_order_free(Trainer& trainer, const std::vector<UnitLoss>& losses, StepStats& stats);

// The whole of an array of which each rank holds a part (m, v, master): the array itself with one
// rank, else a copy in the gradients' memory, which is free between steps. All ranks call it
// together.
Tensor whole_array(const Trainer& trainer, Tensor part);
// The weights in full precision as parameters, masters where there are any. As whole_array.
Params full_weights(const Trainer& trainer);

// Outputs without gradients, per sequence: logp, entropy, value and logit of every target.
struct SequenceOutputs {
    std::vector<double> logp, entropy, value, logit;
};
std::vector<SequenceOutputs> evaluate_sequences(Pass& pass,
                                                const std::vector<TrainSequence>& sequences,
                                                int tokens_per_micro_batch, const Wanted& wants);

// Cuts the sequences into micro-batches of at most `budget` tokens, whole bundles each, keeping
// their order. A bundle over the budget is a micro-batch of its own. Ranges [first, last).
std::vector<std::pair<int, int>> cut_micro_batches(std::span<const TrainSequence> sequences,
                                                   int budget);
