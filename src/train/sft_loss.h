#pragma once
// The loss of supervised fine-tuning: the mean of -logp over all targets of the step, in nats per token.
//   L = -1/M sum w_t logp_t over the M targets     dL/dlogp_t = -w_t/M
// w_t is 1 unless weights are given: TRM's fields have one each (train.verdict_weights).

#include "train/step.h"

// weights: per sequence and target; empty: all 1.
Objective sft_loss(const std::vector<TrainSequence>& step,
                   std::vector<std::vector<double>> weights = {});
