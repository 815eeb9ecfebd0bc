#pragma once
// The backward pass with a hand in it, for who reads more of a layer than its output (train/wise_copy.h).

#include "model/pass.h"

// As pass.h's. on_dqkv is called with the gradient of what forward's on_qkv was called with, to add to.
void backward(Pass& pass, const Params& grads, bool first,
              const std::function<void(int layer, Tensor dqkv)>& on_dqkv);
