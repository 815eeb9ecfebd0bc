#pragma once
// The settings of an algorithm: the keys algo.*. What each choice means stands where it is computed
// (advantage.h, kl.h, aggregation.h); what an algorithm of a name chooses stands in its file.

#include "base/config.h"
#include "rl/batch.h"
#include "rl/kl.h"

#include <map>

// b: what is subtracted from a completion's reward R. own: what the preset has of its own (BNPO).
enum class Baseline { none, group_mean, leave_one_out, batch_mean, ema, own };
// A standard deviation: with n - 1, or with n.
enum class Std { none, unbiased, population };
// How a completion's outcome becomes A per token.
enum class Estimator { outcome, reward_to_go, gae, group_tokens, token };
enum class KlIn { loss, reward };
// Several credit sources: their weighted sum is normalised, or each is and then weighted and added.
enum class Combine { normalise_of_sum, sum_of_normalised };
// What a segment is compared with (units.h).
enum class SegmentPool { group, index_centre_group_std, per_index };
// The weight of a token in the loss. all_tokens: only by select.denominator.
enum class Aggregation {
    seq_mean_token_mean,
    token_mean,
    seq_mean_token_sum,
    seq_mean_token_sum_norm,
    group_mean_token_mean,
    all_tokens
};

// select.denominator: Z of the policy term, in place of the aggregation's.
enum class Denominator { of_aggregation, kept_tokens, all_selected_tokens, per_sequence };

const char* name_of(Estimator estimator);
const char* name_of(Baseline baseline);
const char* name_of(Kl kl);
const char* name_of(Aggregation aggregation);

// How rewards become A per token (advantage.h has the formulas).
struct AdvantageConfig {
    Baseline baseline = Baseline::group_mean;
    Std std = Std::none, whiten = Std::none;
    Estimator estimator = Estimator::outcome;
    double std_eps = 1e-6, whiten_eps = 1e-8, clip = 0, credit_weight = 0, value_weight = 0;
    bool scale_value = false;
    double ema = 0, ema_decay = 0.9, std_floor = 0, format_penalty = -1;
    Combine combine = Combine::normalise_of_sum;
    SegmentPool segment_pool = SegmentPool::group;
    AfterLast after_last_segment = AfterLast::mean;
    void visit(Fields& v);
};

// A number that one algorithm has and no other: the key algo.ALGORITHM.NAME.
struct Parameter {
    const char* algorithm;
    const char* name;
    double value; // unless told otherwise
    double low, high;
    const char* help;
};

struct AlgoConfig {
    std::string preset = "grpo";
    double clip_eps_low = 0.2, clip_eps_high = 0.2, dual_clip = 0, ratio_cap = 0;
    Kl kl = Kl::none;
    KlIn kl_in = KlIn::loss;
    double kl_coef = 0, entropy_coef = 0;
    Aggregation aggregation = Aggregation::token_mean;
    double max_length_norm = 0;
    double gamma = 1, lambda = 1, value_clip = 0, value_coef = 0;
    double overlong_length = 0, overlong_cache = 0, overlong_factor = 1;
    AdvantageConfig advantage;
    std::map<std::string, double> own; // "sapo.tau_pos": the parameters that were visited

    double value_of(const Parameter& parameter) const;
    void visit(Fields& v); // of presets and parameters it lists those of the table
};

// Fills the fields of `algo` that the user named neither in the file nor on the command line from
// the preset, then checks what no single field can say. Call it once after load_config.
// longest: completion length in tokens that stands in for a max_length_norm of 0; 0: not known.
void resolve_algorithm(AlgoConfig& algo, const Args& args, double longest = 0);
// The preset alone.
AlgoConfig preset_algorithm(const std::string& name);
void check_algorithm(const AlgoConfig& algo);

// Whether the update's forward needs every token of a kept completion, or only the kept ones.
bool needs_all_tokens(const AlgoConfig& algo);
// Rollouts must carry these.
bool needs_reference(const AlgoConfig& algo);
bool needs_value(const AlgoConfig& algo);
