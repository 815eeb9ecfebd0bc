#include "rl/algorithms.h"

Algorithm grpo_row(), dr_grpo_row(), dapo_row(), gspo_row(), gspo_token_row(), cispo_row(),
    reinforce_row(), rloo_row(), reinforce_pp_row(), reinforce_pp_baseline_row(), ppo_row();
std::span<const Algorithm> qrm_rows();
std::span<const Algorithm> peer_rows();

std::span<const Algorithm> algorithm_table() {
    static const std::vector<Algorithm> table = [] {
        std::vector<Algorithm> rows = {grpo_row(),         dr_grpo_row(),
                                       dapo_row(),         gspo_row(),
                                       gspo_token_row(),   cispo_row(),
                                       reinforce_row(),    rloo_row(),
                                       reinforce_pp_row(), reinforce_pp_baseline_row(),
                                       ppo_row()};
        for (const Algorithm& row : qrm_rows()) rows.push_back(row);
        for (const Algorithm& row : peer_rows()) rows.push_back(row);
        return rows;
    }();
    return table;
}

static std::vector<std::string> preset_names() {
    std::vector<std::string> names;
    for (const Algorithm& row : algorithm_table()) names.push_back(row.name);
    return names;
}

const Algorithm& find_algorithm(const std::string& name) {
    for (const Algorithm& row : algorithm_table())
        if (name == row.name) return row;
    fail("algo.preset = \"%s\" is not known; the nearest is \"%s\"", name.c_str(),
         nearest_name(name, preset_names()).c_str());
}

void AlgoConfig::visit(Fields& v) {
    static const std::string preset_help = [] {
        std::string text = "fills the fields that are not given";
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
    v.choice("kl", kl, {"none", "k1", "abs", "k2", "k3", "k3_ratio"},
             "estimator of KL(policy || reference)");
    v.field("kl_coef", kl_coef, 0, 1e6, "beta: weight of the KL, per nat");
    v.choice("kl_in", kl_in, {"loss", "reward"},
             "where the KL stands; in the reward: k1 or abs only");
    v.field("entropy_coef", entropy_coef, -1e6, 1e6, "c_e: loss -= c_e * entropy, per nat");
    v.choice("aggregation", aggregation,
             {"seq_mean_token_mean", "token_mean", "seq_mean_token_sum", "seq_mean_token_sum_norm",
              "group_mean_token_mean"},
             "weight of a token in the loss");
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
    CHECK(algo.kl != "none" || algo.kl_coef == 0 || names_key(args, "algo.kl") ||
              !names_key(args, "algo.kl_coef"),
          "algo.kl_coef = %g has no effect with algo.kl = none; set algo.kl, for instance to k3",
          algo.kl_coef);
    CHECK(algo.kl == "none" || !names_key(args, "algo.kl") || algo.kl_coef != 0 ||
              names_key(args, "algo.kl_coef"),
          "algo.kl = %s has no weight; set algo.kl_coef, for instance to 0.04", algo.kl.c_str());
    check_algorithm(algo);
}

void check_algorithm(const AlgoConfig& algo) {
    const AdvantageConfig& advantage = algo.advantage;
    CHECK(algo.kl_in == "loss" || algo.kl == "k1" || algo.kl == "abs" || algo.kl == "none",
          "algo.kl = %s cannot stand in the reward: only k1 and abs can; set algo.kl=k1 or "
          "algo.kl_in=loss",
          algo.kl.c_str());
    CHECK(algo.kl_in == "reward" || algo.kl != "abs",
          "algo.kl = abs, |logp_old - logp_ref|, stands in the reward only; set algo.kl_in=reward, "
          "or another algo.kl");
    CHECK(algo.dual_clip == 0 || algo.dual_clip >= 1,
          "algo.dual_clip = %g must be 0 (off) or at least 1", algo.dual_clip);
    CHECK(algo.aggregation != "seq_mean_token_sum_norm" || algo.max_length_norm > 0,
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
    CHECK(advantage.value_weight == 0 || advantage.estimator == "token",
          "algo.advantage.value_weight = %g has no effect with estimator = %s; only token "
          "subtracts a weighted value",
          advantage.value_weight, advantage.estimator.c_str());
    CHECK(advantage.credit_weight == 0 || advantage.estimator != "outcome",
          "algo.advantage.credit_weight = %g has no effect with estimator = outcome; use "
          "token, reward_to_go, gae or group_tokens",
          advantage.credit_weight);
    CHECK(advantage.estimator != "group_tokens" || advantage.baseline == "group_mean",
          "algo.advantage.estimator = group_tokens subtracts the mean over the prompt's tokens; "
          "set algo.advantage.baseline to group_mean, found %s",
          advantage.baseline.c_str());
}

bool needs_all_tokens(const AlgoConfig& algo) {
    return find_algorithm(algo.preset).sequence_ratio ||
           (algo.kl != "none" && algo.kl_in == "loss") || algo.entropy_coef != 0 ||
           algo.value_coef != 0;
}

bool needs_reference(const AlgoConfig& algo) { return algo.kl != "none"; }

bool needs_value(const AlgoConfig& algo) {
    const AdvantageConfig& advantage = algo.advantage;
    return advantage.estimator == "gae" ||
           (advantage.estimator == "token" && advantage.value_weight != 0);
}
