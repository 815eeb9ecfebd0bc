#include "rl/key_effect.h"

#include "rl/algorithms.h"

#include <algorithm>
#include <set>

// The presets whose policy term reads the key: "grpo, dapo, ..".
static std::string presets_that_read(const char* key) {
    std::string list;
    for (const Algorithm& row : algorithm_table())
        if (row.policy.reads_key(key)) list += (list.empty() ? "" : ", ") + std::string(row.name);
    return "algo.preset = " + list;
}

std::vector<KeyEffect> key_effects(const AlgoConfig& algo) {
    const AdvantageConfig& a = algo.advantage;
    const Estimator estimator = a.estimator;
    const bool relative = a.baseline != Baseline::none && a.baseline != Baseline::own;
    const char* comparison = "algo.advantage.baseline other than none and own";
    std::vector<KeyEffect> list = {
        {"kl_in", algo.kl != Kl::none, "algo.kl"},
        {"kl_coef", algo.kl != Kl::none, "algo.kl, for instance k3"},
        {"max_length_norm", algo.aggregation == Aggregation::seq_mean_token_sum_norm,
         "algo.aggregation = seq_mean_token_sum_norm (dr_grpo)"},
        {"gamma", estimator == Estimator::reward_to_go || estimator == Estimator::gae,
         "algo.advantage.estimator = reward_to_go or gae"},
        {"lambda", estimator == Estimator::gae, "algo.advantage.estimator = gae"},
        {"value_clip", algo.value_coef != 0, "algo.value_coef"},
        {"overlong_cache", algo.overlong_length > 0, "algo.overlong_length"},
        {"overlong_factor", algo.overlong_length > 0, "algo.overlong_length"},
        {"advantage.std", relative, comparison},
        {"advantage.std_floor", relative, comparison},
        {"advantage.std_eps", relative && a.std != Std::none, "algo.advantage.std, and a baseline"},
        {"advantage.whiten_eps", a.whiten != Std::none, "algo.advantage.whiten"},
        {"advantage.ema", a.baseline == Baseline::ema, "algo.advantage.baseline = ema"},
        {"advantage.ema_decay", a.baseline == Baseline::ema, "algo.advantage.baseline = ema"},
        {"advantage.scale_value", a.value_weight != 0, "algo.advantage.value_weight"},
    };
    const Algorithm& row = find_algorithm(algo.preset);
    for (const char* key : {"clip_eps_low", "clip_eps_high", "dual_clip", "ratio_cap"})
        list.push_back({key, row.policy.reads_key(key), presets_that_read(key)});
    for (const Algorithm& other : algorithm_table())
        for (const Parameter& parameter : other.parameters)
            list.push_back({format("%s.%s", other.name, parameter.name), algo.preset == other.name,
                            "algo.preset = " + std::string(other.name)});
    return list;
}

void check_key_effects(const AlgoConfig& given, const AlgoConfig& preset, const Args& args) {
    AlgoConfig algo = given, usual = preset;
    usual.max_length_norm = algo.max_length_norm; // filled in where it is 0
    Fields fields, preset_fields;
    algo.visit(fields);
    usual.visit(preset_fields);
    const std::vector<std::string> list = config_changes(fields, config_json(preset_fields));
    const std::set<std::string> departs(list.begin(), list.end());
    Args typed = args, file = args;
    typed.config_path.clear();
    file.overrides.clear();
    // What follows two configurations (rlhf diff) is meant for the one that reads it.
    if (!args.second_config_path.empty()) typed.overrides.clear();
    for (const KeyEffect& effect : key_effects(algo)) {
        const std::string path = "algo." + effect.key;
        bool set =
            names_key(typed, path) || (departs.contains(effect.key) && names_key(file, path));
        // kl = none and a weight: switched off on purpose
        if (effect.key.starts_with("kl_")) set &= !names_key(args, "algo.kl");
        CHECK(effect.acts || !set,
              "%s has no effect with algo.preset = %s as it is set; it needs %s", path.c_str(),
              algo.preset.c_str(), effect.needs.c_str());
    }
}
