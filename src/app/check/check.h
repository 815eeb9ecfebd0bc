#pragma once
// What `rlhf check` can check. Each prints a table with verdicts and returns 0, or 2 if one failed.

#include "base/config.h"
#include "base/rng.h"
#include "model/model.h"

int check_grad(const Args& args);
int check_parity(const Args& args);

// The table that check grad prints.
struct GradientTable {
    double tolerance = 1e-7;
    int rows = 0, failed = 0;
    void row(const std::string& name, double error);
};
// Every loss of src/rl, and DPO, by logp, value and entropy, without a network.
void check_losses(GradientTable& table);
// Every kind of reward model through a whole tiny network, by every parameter.
void check_rewards(GradientTable& table);

// Largest error of dx against central differences of loss() along random directions, relative to dx's length.
double direction_error(Tensor x, Tensor dx, const std::function<double()>& loss, Rng& rng);
void randomise(const Model& model, Rng& rng); // f64
