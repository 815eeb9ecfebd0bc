#pragma once
// The loss of supervised fine-tuning: the mean of -logp over all targets of the step, in nats per token.
//   L = -1/M sum logp_t over the M targets        dL/dlogp_t = -1/M

#include "train/step.h"

Objective sft_loss(const std::vector<TrainSequence>& step);
