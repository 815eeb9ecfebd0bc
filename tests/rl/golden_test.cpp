// Every loss against PyTorch autograd and TRL (tests/reference/make_golden_rl.py), through the same path as
// `rlhf loss`: a configuration, stored rows, a preset that fills what the configuration leaves open.

#include "app/explain/stored_update.h"
#include "reward/dpo.h"
#include "testing.h"

static const char* const rows_path = "tests/golden/rl/rows.jsonl";
static const char* const cases_path = "tests/golden/rl/cases.json";

// A configuration as key=value words.
static void add_overrides(std::vector<std::string>& words, const Json& object,
                          const std::string& prefix) {
    for (auto& [key, value] : object.items())
        if (value.is_object())
            add_overrides(words, value, prefix + key + ".");
        else
            words.push_back(prefix + key + "=" +
                            (value.is_string() ? value.get<std::string>() : dump_row(value)));
}

static StoredUpdate update_of(const Json& config) {
    Args args;
    args.overrides = {std::string("rollouts=") + rows_path};
    add_overrides(args.overrides, config, "");
    UpdateConfig update_config;
    load_config(update_config, args);
    resolve_update(update_config, args);
    return stored_update(update_config);
}

// 13 digits are stored; sums of some tens of terms of size 1 are good to 1e-12.
static void expect_all_close(const std::vector<double>& got, const Json& want, const char* what) {
    ASSERT_EQ(got.size(), want.size()) << what;
    for (size_t n = 0; n < got.size(); ++n)
        ASSERT_TRUE(close(got[n], want[n].get<double>(), 1e-11))
            << what << "[" << n << "] = " << got[n] << ", wanted " << want[n];
}

TEST(Golden, EveryLossAgreesWithAutogradAndTrl) {
    Json golden = read_json(cases_path);
    ASSERT_GT(golden["cases"].size(), 50u);
    for (const Json& c : golden["cases"]) {
        SCOPED_TRACE(c["name"].get<std::string>());
        StoredUpdate update = update_of(c["config"]);
        expect_all_close(update.loss.grads.dlogp, c["dlogp"], "dlogp");
        if (c.contains("loss")) { // TRL gives the total alone
            EXPECT_TRUE(close(update.loss.parts.total(), c["loss"].get<double>(), 1e-11));
            continue;
        }
        const Json& parts = c["parts"];
        EXPECT_TRUE(close(update.loss.parts.policy, parts["policy"].get<double>(), 1e-11));
        EXPECT_TRUE(close(update.loss.parts.kl, parts["kl"].get<double>(), 1e-11));
        EXPECT_TRUE(close(update.loss.parts.entropy, parts["entropy"].get<double>(), 1e-11));
        EXPECT_TRUE(close(update.loss.parts.value, parts["value"].get<double>(), 1e-11));
        expect_all_close(update.kept.A.token, c["advantage"], "advantage");
        std::vector<int> kept;
        for (size_t i = 0; i < update.kept.completion.size(); ++i)
            if (update.kept.completion[i]) kept.push_back((int)i);
        EXPECT_EQ(Json(kept), c["kept"]);
        if (c.contains("token_kept")) {
            EXPECT_EQ(Json(update.kept.token), c["token_kept"]);
        }
        if (c.contains("dentropy"))
            expect_all_close(update.loss.grads.dentropy, c["dentropy"], "dH");
        if (c.contains("dvalue")) expect_all_close(update.loss.grads.dvalue, c["dvalue"], "dvalue");
    }
}

TEST(Golden, DpoAgreesWithAutograd) {
    Json golden = read_json(cases_path);
    for (const Json& c : golden["dpo"]) {
        auto numbers = [&](const char* key) { return json_numbers(c, key, "dpo"); };
        std::vector<double> chosen = numbers("chosen"), chosen_ref = numbers("chosen_ref"),
                            rejected = numbers("rejected"), rejected_ref = numbers("rejected_ref");
        DpoTerm term = dpo_loss(chosen, chosen_ref, rejected, rejected_ref, c["beta"].get<double>(),
                                c["label_smoothing"].get<double>());
        EXPECT_TRUE(close(term.loss, c["loss"].get<double>(), 1e-12));
        EXPECT_TRUE(close(term.dchosen, c["dchosen"].get<double>(), 1e-12));
        EXPECT_TRUE(close(term.drejected, c["drejected"].get<double>(), 1e-12));
    }
}
