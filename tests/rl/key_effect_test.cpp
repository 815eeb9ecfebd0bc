// Which keys act: what key_effects says against what the numbers do.

#include "rl/key_effect.h"

#include "app/check/random_rollouts.h"
#include "command.h"
#include "rl/advantage.h"
#include "rl/aggregation.h"
#include "rl/algorithms.h"
#include "rl/loss.h"
#include "rl/select.h"
#include "testing.h"

#include <fstream>
#include <set>

namespace {
// Everything that stations 4 to 6 compute.
std::vector<double> numbers(const AlgoConfig& algo) {
    const Rollouts r = random_rollouts(17);
    const Advantages A = advantages(r, algo);
    const Selection kept = select(r, A, algo, SelectConfig());
    const BatchLoss loss =
        batch_loss(r, kept, weigh(r, kept, algo, Denominator::of_aggregation), algo);
    std::vector<double> all = {loss.parts.policy, loss.parts.kl, loss.parts.value,
                               loss.parts.entropy};
    for (const std::vector<double>* x :
         {&A.token, &A.ret, &loss.grads.dlogp, &loss.grads.dentropy, &loss.grads.dvalue})
        all.insert(all.end(), x->begin(), x->end());
    // read by the next batch, by this baseline alone
    all.push_back(algo.advantage.baseline == Baseline::ema ? A.ema : 0);
    return all;
}

void move(const Field& field) {
    if (auto at = std::get_if<double*>(&field.value)) **at = **at * 1.25 + 0.125;
    if (auto at = std::get_if<bool*>(&field.value)) **at = !**at;
    if (auto at = std::get_if<EnumRef>(&field.value)) at->set(at->at, 1 - at->get(at->at));
}

// The presets, and settings that no preset has.
std::vector<AlgoConfig> cases() {
    std::vector<AlgoConfig> list;
    for (const Algorithm& row : algorithm_table()) {
        list.push_back(preset_algorithm(row.name));
        list.back().max_length_norm = 9;
    }
    AlgoConfig more = preset_algorithm("reinforce");
    more.advantage.baseline = Baseline::ema;
    list.push_back(more);
    more = preset_algorithm("grpo");
    more.dual_clip = 1.1;
    more.overlong_length = 6, more.overlong_cache = 3;
    list.push_back(more);
    more = preset_algorithm("cispo");
    more.ratio_cap = 0.5;
    list.push_back(more);
    more = preset_algorithm("ppo");
    more.kl = Kl::k1, more.kl_in = KlIn::reward, more.kl_coef = 0.1;
    list.push_back(more);
    return list;
}
} // namespace

TEST(KeyEffect, AKeyThatIsSaidToDoNothingChangesNoBitAndTheOthersDo) {
    std::set<std::string> keys, seen;
    for (const AlgoConfig& usual : cases()) {
        const std::vector<double> before = numbers(usual);
        for (const KeyEffect& effect : key_effects(usual)) {
            SCOPED_TRACE(usual.preset + " " + effect.key);
            AlgoConfig algo = usual;
            Fields fields;
            algo.visit(fields);
            const Field* found = nullptr;
            for (const Field& field : fields.list)
                if (field.path == effect.key) found = &field;
            ASSERT_TRUE(found) << "no such key";
            move(*found);
            const bool same = numbers(algo) == before;
            EXPECT_TRUE(effect.acts || same);
            keys.insert(effect.key);
            if (!same) seen.insert(effect.key);
        }
    }
    for (const std::string& key : keys) EXPECT_TRUE(seen.contains(key)) << key << " never acted";
}

namespace {
struct OneObject {
    AlgoConfig algo;
    void visit(Fields& v) { v.object("algo", algo, ""); }
};
} // namespace

// The error of these settings, or "".
static std::string error_of(std::vector<std::string> overrides, const std::string& file = "") {
    Scratch at;
    Args args;
    args.overrides = std::move(overrides);
    if (!file.empty()) {
        args.config_path = at("config.json");
        std::ofstream(args.config_path) << file;
    }
    OneObject config;
    try {
        load_config(config, args);
        resolve_algorithm(config.algo, args);
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

TEST(KeyEffect, AKeyWithoutEffectIsRefused) {
    const std::string sapo = error_of({"algo.preset=sapo", "algo.clip_eps_high=0.3"});
    EXPECT_TRUE(contains(sapo, "algo.clip_eps_high") && contains(sapo, "sapo")) << sapo;
    EXPECT_TRUE(contains(sapo, "grpo, dr_grpo")) << sapo;
    for (const char* preset : {"vespo", "gmpo", "reinforce", "cispo", "nanochat"})
        EXPECT_NE(error_of({std::string("algo.preset=") + preset, "algo.clip_eps_low=0.1"}), "");
    EXPECT_NE(error_of({"algo.preset=grpo", "algo.ratio_cap=3"}), "");
    EXPECT_NE(error_of({"algo.preset=grpo", "algo.sapo.tau_pos=2"}), "");
    EXPECT_NE(error_of({"algo.preset=grpo", "algo.lambda=0.9"}), "");
    EXPECT_EQ(error_of({"algo.preset=dapo", "algo.clip_eps_high=0.3"}), "");
    EXPECT_EQ(error_of({"algo.preset=sapo", "algo.sapo.tau_pos=2"}), "");
    EXPECT_EQ(error_of({"algo.preset=ppo", "algo.lambda=0.9"}), "");
}

// The configuration that a run saves names every key.
TEST(KeyEffect, AFileMayHaveThePresetsOwnValue) {
    EXPECT_EQ(error_of({}, R"({"algo": {"preset": "sapo", "clip_eps_low": 0.2}})"), "");
    EXPECT_NE(error_of({}, R"({"algo": {"preset": "sapo", "clip_eps_low": 0.1}})"), "");
    for (const Algorithm& row : algorithm_table()) {
        AlgoConfig algo = preset_algorithm(row.name);
        algo.max_length_norm = 64; // a run fills it in
        Fields fields;
        algo.visit(fields);
        EXPECT_EQ(error_of({}, Json{{"algo", config_json(fields)}}.dump()), "") << row.name;
    }
}
