#include "rl/algorithms.h"
#include "rl/key_effect.h"

static const char* const baseline_names[] = {"none",       "group_mean", "leave_one_out",
                                             "batch_mean", "ema",        "own"};
static const char* const std_names[] = {"none", "unbiased", "population"};
static const char* const estimator_names[] = {"outcome", "reward_to_go", "gae", "group_tokens",
                                              "token"};
static const char* const combine_names[] = {"normalise_of_sum", "sum_of_normalised"};
static const char* const segment_pool_names[] = {"group", "index_centre_group_std", "per_index"};
static const char* const after_last_names[] = {"mean", "last", "zero"};
static const char* const kl_names[] = {"none", "k1", "abs", "k2", "k3", "k3_ratio"};
static const char* const kl_in_names[] = {"loss", "reward"};
static const char* const aggregation_names[] = {"seq_mean_token_mean",   "token_mean",
                                                "seq_mean_token_sum",    "seq_mean_token_sum_norm",
                                                "group_mean_token_mean", "all_tokens"};

const char* name_of(Estimator estimator) { return estimator_names[(int)estimator]; }
const char* name_of(Baseline baseline) { return baseline_names[(int)baseline]; }
const char* name_of(Kl kl) { return kl_names[(int)kl]; }
const char* name_of(Aggregation aggregation) { return aggregation_names[(int)aggregation]; }

void AdvantageConfig::visit(Fields& v) {
    v.choice("baseline", baseline, baseline_names,
             "b: what is subtracted from a completion's reward R; own: the preset has a "
             "normalisation of its own (bnpo)");
    v.choice("std", std, std_names,
             "sigma: what R - b is divided by, over the same completions as b");
    v.field("std_eps", std_eps, 0, 1, "added to sigma");
    v.choice("estimator", estimator, estimator_names,
             "A per token: the completion's, discounted rewards to come, GAE, token rewards "
             "normalised over all tokens of the prompt, or the token's own credit as it is "
             "(a Q value)");
    v.choice("whiten", whiten, std_names,
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
    v.field("ema", ema, -1e9, 1e9, "baseline=ema: its value before the first batch");
    v.field("ema_decay", ema_decay, 0, 1, "baseline=ema: share of the old value in the new");
    v.field("std_floor", std_floor, 0, 1e9, "a deviation below it gives A = 0; 0: off");
    v.choice("combine", combine, combine_names,
             "several credit sources: their weighted sum is normalised, or each is, over its own "
             "completions, segments or tokens, and then weighted and added");
    v.choice("segment_pool", segment_pool, segment_pool_names,
             "what a segment is compared with: all segments of the prompt; those of its number, "
             "with one deviation for the prompt; those of its number");
    v.choice("after_last_segment", after_last_segment, after_last_names,
             "what tokens behind the last segment get of the completion's segments");
    v.field("format_penalty", format_penalty, -1e6, 1e6,
            "what an answer without segments is worth, as one segment");
}

static std::string own_key(const Parameter& parameter) {
    return std::string(parameter.algorithm) + "." + parameter.name;
}

double AlgoConfig::value_of(const Parameter& parameter) const {
    auto found = own.find(own_key(parameter));
    return found == own.end() ? parameter.value : found->second;
}

namespace {
// The parameters that one algorithm has.
struct OwnKeys {
    std::map<std::string, double>& own;
    const std::vector<Parameter>& parameters;
    void visit(Fields& v) {
        for (const Parameter& p : parameters) {
            double& value = own.try_emplace(own_key(p), p.value).first->second;
            v.field(p.name, value, p.low, p.high, p.help);
        }
    }
};
} // namespace

static std::vector<std::string> preset_names() {
    std::vector<std::string> names;
    for (const Algorithm& row : algorithm_table()) names.push_back(row.name);
    return names;
}

void AlgoConfig::visit(Fields& v) {
    static const std::string preset_help = [] {
        std::string text = "the algorithm: its loss, and the fields that are not given";
        for (const Algorithm& row : algorithm_table())
            text += format("\n      %-24s%s", row.name, row.summary);
        return text;
    }();
    v.choice("preset", preset, preset_names(), preset_help.c_str());
    v.field("clip_eps_low", clip_eps_low, 0, 1, "eps_l: the ratio's range begins at 1 - eps_l");
    v.field("clip_eps_high", clip_eps_high, 0, 1e9, "eps_h: the ratio's range ends at 1 + eps_h");
    v.field("dual_clip", dual_clip, 0, 1e9,
            "c: bound of the ratio where A < 0, at least 1; 0: none");
    v.field("ratio_cap", ratio_cap, 0, 1e9, "cispo: bound of the ratio; 0: none");
    v.choice("kl", kl, kl_names, "estimator of KL(policy || reference)");
    v.field("kl_coef", kl_coef, 0, 1e6, "beta: weight of the KL, per nat");
    v.choice("kl_in", kl_in, kl_in_names, "where the KL stands; in the reward: k1 or abs only");
    v.field("entropy_coef", entropy_coef, -1e6, 1e6, "c_e: loss -= c_e * entropy, per nat");
    v.choice("aggregation", aggregation, {aggregation_names, 5}, "weight of a token in the loss");
    v.field("max_length_norm", max_length_norm, 0, 1e9,
            "L_max of seq_mean_token_sum_norm, tokens; a run takes sample.max_new_tokens for 0");
    v.field("gamma", gamma, 0, 1, "discount per token (reward_to_go, gae)");
    v.field("lambda", lambda, 0, 1, "GAE's lambda");
    v.field("value_clip", value_clip, 0, 1e9,
            "eps_v: range of the value around value_old; 0: none");
    v.field("value_coef", value_coef, 0, 1e6, "c_v: weight of the value loss");
    v.field("overlong_length", overlong_length, 0, 1e9,
            "DAPO's L_max, tokens: longer completions lose reward; 0: off");
    v.field("overlong_cache", overlong_cache, 0, 1e9,
            "DAPO's L_cache, tokens: the penalty grows over the last L_cache tokens");
    v.field("overlong_factor", overlong_factor, 0, 1e9, "the penalty at L_max");
    v.object("advantage", advantage, "from rewards to A per token");
    for (const Algorithm& row : algorithm_table()) {
        OwnKeys keys{own, row.parameters};
        if (!row.parameters.empty()) v.object(row.name, keys, row.summary);
    }
}

AlgoConfig preset_algorithm(const std::string& name) {
    AlgoConfig algo;
    algo.preset = name;
    find_algorithm(name).preset(algo);
    return algo;
}

void resolve_algorithm(AlgoConfig& algo, const Args& args, double longest) {
    AlgoConfig preset = preset_algorithm(algo.preset);
    Fields fields, wanted;
    algo.visit(fields);
    preset.visit(wanted);
    for (size_t i = 0; i < fields.list.size(); ++i) {
        if (names_key(args, "algo." + fields.list[i].path)) continue;
        copy_field(fields.list[i], wanted.list[i]);
    }
    if (algo.max_length_norm == 0) algo.max_length_norm = longest;
    check_key_effects(algo, preset, args);
    CHECK(algo.kl == Kl::none || !names_key(args, "algo.kl") || algo.kl_coef != 0 ||
              names_key(args, "algo.kl_coef"),
          "algo.kl = %s has no weight; set algo.kl_coef, for instance to 0.04", name_of(algo.kl));
    check_algorithm(algo);
}

void check_algorithm(const AlgoConfig& algo) {
    const AdvantageConfig& advantage = algo.advantage;
    CHECK(algo.kl_in == KlIn::loss || algo.kl == Kl::k1 || algo.kl == Kl::abs ||
              algo.kl == Kl::none,
          "algo.kl = %s cannot stand in the reward: only k1 and abs can; set algo.kl=k1 or "
          "algo.kl_in=loss",
          name_of(algo.kl));
    CHECK(algo.kl_in == KlIn::reward || algo.kl != Kl::abs,
          "algo.kl = abs, |logp_old - logp_ref|, stands in the reward only; set algo.kl_in=reward, "
          "or another algo.kl");
    CHECK(algo.dual_clip == 0 || algo.dual_clip >= 1,
          "algo.dual_clip = %g must be 0 (off) or at least 1", algo.dual_clip);
    CHECK(algo.aggregation != Aggregation::seq_mean_token_sum_norm || algo.max_length_norm > 0,
          "algo.aggregation = seq_mean_token_sum_norm (preset %s) divides by algo.max_length_norm, "
          "which is not given; set it to the largest completion length in tokens",
          algo.preset.c_str());
    CHECK(algo.overlong_length == 0 ||
              (algo.overlong_cache > 0 && algo.overlong_cache <= algo.overlong_length),
          "algo.overlong_cache = %g must be above 0 and at most algo.overlong_length = %g",
          algo.overlong_cache, algo.overlong_length);
    CHECK(algo.value_coef == 0 || needs_value(algo),
          "algo.value_coef = %g needs returns, which only algo.advantage.estimator = gae, or token "
          "with a value_weight, makes",
          algo.value_coef);
    CHECK(advantage.value_weight == 0 || advantage.estimator == Estimator::token,
          "algo.advantage.value_weight = %g has no effect with estimator = %s; only token "
          "subtracts a weighted value",
          advantage.value_weight, name_of(advantage.estimator));
    CHECK(advantage.credit_weight == 0 || advantage.estimator != Estimator::outcome,
          "algo.advantage.credit_weight = %g has no effect with estimator = outcome; use "
          "token, reward_to_go, gae or group_tokens",
          advantage.credit_weight);
    CHECK(advantage.estimator != Estimator::group_tokens ||
              advantage.baseline == Baseline::group_mean,
          "algo.advantage.estimator = group_tokens subtracts the mean over the prompt's tokens; "
          "set algo.advantage.baseline to group_mean, found %s",
          name_of(advantage.baseline));
    CHECK(
        advantage.baseline != Baseline::own || find_algorithm(algo.preset).normalised_rewards,
        "algo.advantage.baseline = own: algo.preset = %s has no normalisation of its own; bnpo has",
        algo.preset.c_str());
}

bool needs_all_tokens(const AlgoConfig& algo) {
    return find_algorithm(algo.preset).policy.ratio == Ratio::sequence ||
           (algo.kl != Kl::none && algo.kl_in == KlIn::loss) || algo.entropy_coef != 0 ||
           algo.value_coef != 0;
}

bool needs_reference(const AlgoConfig& algo) { return algo.kl != Kl::none; }

bool needs_value(const AlgoConfig& algo) {
    const AdvantageConfig& advantage = algo.advantage;
    return advantage.estimator == Estimator::gae ||
           (advantage.estimator == Estimator::token && advantage.value_weight != 0);
}
