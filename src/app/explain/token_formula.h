#pragma once
// The loss of one token in words: an algorithm's formula with the token's values filled in.

#include "rl/loss.h"

#include <string>

struct TokenFormula {
    std::string text; // lines
    double dlogp = 0; // what the formula says: the derivative that batch_loss computes
};
TokenFormula token_formula(const Rollouts& rollouts, const Selection& kept, const Weights& weights,
                           const AlgoConfig& algo, int completion, int token);

// The same with symbols, for the head of a page.
std::vector<std::string> algorithm_formula(const AlgoConfig& algo);
