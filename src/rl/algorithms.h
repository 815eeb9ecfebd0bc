#pragma once
// The table of algorithms. An algorithm is a row: a name, the settings that a user of the name expects
// (its preset), and the policy term of its loss for one completion. Advantage, KL, entropy bonus, value
// loss and weights are shared stations that the settings steer (advantage.h, loss.h, aggregation.h).
//
// To add one: a file with formula, derivative and departures, a row in algorithms.cpp, a configuration,
// a test.

#include "base/config.h"
#include "rl/batch.h"

// How rewards become A per token (advantage.h has the formulas).
struct AdvantageConfig {
    std::string baseline = "group_mean", std = "none", estimator = "outcome", whiten = "none";
    double std_eps = 1e-6, whiten_eps = 1e-8, clip = 0, credit_weight = 0, value_weight = 0;
    bool scale_value = false;
    double ema = 0, ema_decay = 0.9;
    void visit(Fields& v) {
        v.choice("baseline", baseline, {"none", "group_mean", "leave_one_out", "batch_mean", "ema"},
                 "b: what is subtracted from a completion's reward R");
        v.choice("std", std, {"none", "unbiased", "population"},
                 "sigma: what R - b is divided by, over the same completions as b");
        v.field("std_eps", std_eps, 0, 1, "added to sigma");
        v.choice("estimator", estimator,
                 {"outcome", "reward_to_go", "gae", "group_tokens", "token"},
                 "A per token: the completion's, discounted rewards to come, GAE, token rewards "
                 "normalised over all tokens of the prompt, or the token's own credit as it is "
                 "(a Q value)");
        v.choice("whiten", whiten, {"none", "population", "unbiased"},
                 "(A - mean) / sqrt(var + whiten_eps) over all tokens, with this variance");
        v.field("whiten_eps", whiten_eps, 0, 1, "under the root");
        v.field("clip", clip, 0, 1e6, "bound of |A|, 0: none");
        v.field("credit_weight", credit_weight, -1e6, 1e6,
                "weight of the rows' per-token credit in the token rewards (estimators other than "
                "outcome)");
        v.field("value_weight", value_weight, 0, 1e6,
                "c_v: estimator=token subtracts c_v V from the credit; 0: no critic");
        v.field("scale_value", scale_value,
                "estimator=token: V is divided by its deviation over the batch first");
        v.field("ema", ema, -1e9, 1e9, "baseline=ema: its value before this batch");
        v.field("ema_decay", ema_decay, 0, 1, "baseline=ema: share of the old value in the new");
    }
};

struct AlgoConfig {
    std::string preset = "grpo";
    double clip_eps_low = 0.2, clip_eps_high = 0.2, dual_clip = 0, ratio_cap = 0;
    std::string kl = "none", kl_in = "loss";
    double kl_coef = 0, entropy_coef = 0;
    std::string aggregation = "token_mean";
    double max_length_norm = 0;
    double gamma = 1, lambda = 1, value_clip = 0, value_coef = 0;
    double overlong_length = 0, overlong_cache = 0, overlong_factor = 1;
    AdvantageConfig advantage;
    void visit(Fields& v); // lists the presets, so it stands in algorithms.cpp
};

struct Algorithm {
    const char* name;
    const char* summary;
    void (*preset)(AlgoConfig& algo); // sets what departs from AlgoConfig's defaults
    // The policy term of one completion: returns sum_t w_t L_t, accumulates w_t dL_t/dlogp into dlogp.
    // Tokens with w = 0 are not in the loss (but count in a sequence ratio).
    double (*policy_loss)(const TokenRow& row, const AlgoConfig& algo, std::span<double> dlogp,
                          int64_t& clipped);
    bool uses_ratio;     // reads logp_old
    bool sequence_ratio; // the policy term reads logp on tokens that are not kept, too
};

// Ours and then the peers' presets.
std::span<const Algorithm> algorithm_table();
const Algorithm& find_algorithm(const std::string& name);

// Fills the fields of `algo` that the user named neither in the file nor on the command line from the
// preset, then checks what no single field can say. Call it once after load_config.
// longest: completion length in tokens that stands in for a max_length_norm of 0; 0: not known.
void resolve_algorithm(AlgoConfig& algo, const Args& args, double longest = 0);
// The preset alone.
AlgoConfig preset_algorithm(const std::string& name);
void check_algorithm(const AlgoConfig& algo);

// Whether the update's forward needs every token of a kept row, or only the kept ones.
bool needs_all_tokens(const AlgoConfig& algo);
// Rows must carry these.
bool needs_reference(const AlgoConfig& algo);
bool needs_value(const AlgoConfig& algo);
