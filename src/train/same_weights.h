#pragma once
// Weights on several ranks: whoever generates, judges or trains must hold the same ones. They are never
// sent, as every rank makes the same step and reads the same files, so that it is compared.

#include "model/model.h"

// All ranks of the model together: an error that names a rank whose bits are others than the first one's.
// name: of the model, version: optimiser steps that made it. On the CPU; ranks with GPUs compare nothing.
void check_same_weights(const Model& model, const std::string& name, int64_t version);
