#pragma once
// The table of algorithms. An algorithm is a row: a name, the settings that a user of the name
// expects (its preset, which names every term of the paper's formula), and the policy term of its
// loss for one completion. Advantage, KL, entropy bonus, value loss and weights are shared stations
// that the settings steer (advantage.h, loss.h, aggregation.h).
//
// To add one: a file with formula, derivative and departures, a row in algorithms.cpp, a
// configuration, a test. The gradient checks, `explain` and the help read the row.

#include "rl/algo_config.h"

#include <algorithm>
#include <string_view>

// What the policy term says of one token. Whatever the algorithm, its derivative is
//
//     dL/dlogp_t = - w_t  factor_t  A_t  gate_t
//
// w: the weight in the step; factor: what importance sampling makes of A (1, the ratio, a capped
// ratio, ...); gate: what the trust region leaves of it (1, 0 where a clip holds, or something
// between).
struct TokenTerm {
    double loss = 0;  // L_t, without w
    double ratio = 1; // as the algorithm defines it
    double factor = 1, A = 0, gate = 1;
    bool clipped = false; // counts in clip_frac
};

// Where a policy term leaves its derivative.
struct PolicyGrad {
    std::span<double> dlogp; // accumulated into
    int64_t clipped = 0;
    // For who wants to look: one per token; a token with w = 0 leaves its own as it is.
    std::vector<TokenTerm>* terms = nullptr;
};

// Which tokens' logp_old a policy term reads: nobody's, the token's own, or all of the
// completion's, so that its network pass needs every token, kept or not.
enum class Ratio { none, token, sequence };

// The policy term of a completion, and its words.
struct PolicyTerm {
    // Returns sum_t w_t L_t over the tokens with a weight and accumulates its derivative by logp.
    // Tokens with w = 0 are not in the loss (but count in a sequence ratio).
    double (*loss)(const CompletionView& o, const AlgoConfig& algo, PolicyGrad& grad) = nullptr;
    Ratio ratio = Ratio::none;
    // Of the keys that not every term reads (clip_eps_low, clip_eps_high, dual_clip, ratio_cap),
    // those that this one does.
    std::span<const char* const> keys = {};
    // A factor's gradient is stopped, so the derivative is by definition not that of the loss's
    // value.
    bool stops_gradient = false;
    const char* formula = "";       // dL/dlogp in symbols
    const char* ratio_formula = ""; // "r = exp(logp - logp_old)"
    // What bounds there are, in symbols; null: none.
    std::string (*bounds)(const AlgoConfig& algo) = nullptr;
    // The same with one token's numbers, a line; null or "": nothing to say.
    std::string (*bounds_met)(const AlgoConfig& algo, const TokenTerm& term) = nullptr;

    bool reads_key(std::string_view key) const { return std::ranges::count(keys, key) > 0; }
};

struct Algorithm {
    const char* name = "";
    const char* summary = "";
    void (*preset)(AlgoConfig& algo) = nullptr;
    PolicyTerm policy;
    std::vector<Parameter> parameters = {};
    // baseline=own: R' of all completions from R. Null: the algorithm has no normalisation of its
    // own.
    std::vector<double> (*normalised_rewards)(const std::vector<double>& R,
                                              const Rollouts& rollouts,
                                              const AlgoConfig& algo) = nullptr;
};

// Ours and then the peers' presets.
std::span<const Algorithm> algorithm_table();
const Algorithm& find_algorithm(const std::string& name);
