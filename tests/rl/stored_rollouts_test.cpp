// Stored rollouts and the configuration of an algorithm: what is missing or wrong is named.

#include "app/explain/stored_update.h"
#include "base/file.h"
#include "testing.h"

#include <unistd.h>

namespace {
const char* const good = R"({"step": 2, "prompt_id": 0, "sample": 0, "completion_ids": [5, 6],
    "finish": "stop", "logp_old": [-1, -2], "reward": 1})";

// Writes the rows, runs the update with these overrides, returns the error or "".
std::string error_of(const std::vector<std::string>& rows, std::vector<std::string> overrides,
                     StoredUpdate* update = nullptr) {
    std::string path = format("/tmp/rlhf_rows_%d.jsonl", (int)getpid()), text;
    for (std::string row : rows) {
        for (char& c : row)
            if (c == '\n') c = ' ';
        text += row + "\n";
    }
    FILE* file = std::fopen(path.c_str(), "w"); // no fsync, unlike write_file
    std::fputs(text.c_str(), file);
    std::fclose(file);
    std::string message;
    try {
        Args args;
        args.overrides = std::move(overrides);
        args.overrides.push_back("rollouts=" + path);
        UpdateConfig config;
        load_config(config, args);
        resolve_update(config, args);
        StoredUpdate made = stored_update(config);
        if (update) *update = made;
    } catch (const Error& error) {
        message = error.what();
    }
    unlink(path.c_str());
    return message;
}

std::string with(const std::string& more) {
    std::string row = good;
    return row.substr(0, row.rfind('}')) + ", " + more + "}";
}

#define EXPECT_NAMES(message, ...)                                                                 \
    for (const char* part : {__VA_ARGS__})                                                         \
    EXPECT_NE(message.find(part), std::string::npos) << "\"" << message << "\" lacks " << part
} // namespace

TEST(StoredRows, GroupsByStepAndPromptWhateverTheOrder) {
    StoredUpdate update;
    std::string other = R"({"step": 2, "prompt_id": 9, "completion_ids": [1], "logp_old": [-1],
        "logp": [-1.5], "reward": 0})";
    std::string late = R"({"step": 3, "prompt_id": 0, "completion_ids": [], "logp_old": [],
        "reward": 0})";
    ASSERT_EQ(error_of({good, other, good, late}, {}, &update), "");
    const Rollouts& r = update.stored.batch;
    EXPECT_EQ(r.group, (std::vector<int>{0, 1, 0, 2}));
    EXPECT_EQ(r.groups, 3);
    EXPECT_EQ(r.offset, (std::vector<int64_t>{0, 2, 3, 5, 5}));
    EXPECT_EQ(r.logp, (std::vector<double>{-1, -2, -1.5, -1, -2}))
        << "logp_old where logp is missing";
    EXPECT_TRUE(r.finished.empty()) << "not every row says";
    EXPECT_EQ(update.stored.where[2].substr(update.stored.where[2].rfind(':')), ":3");
}

TEST(StoredRows, ValueOldIsValueWhenMissing) {
    StoredUpdate update;
    ASSERT_EQ(error_of({with(R"("value": [0.5, 0.25])")}, {"algo.preset=ppo"}, &update), "");
    EXPECT_EQ(update.stored.batch.value_old, (std::vector<double>{0.5, 0.25}));
}

TEST(StoredRows, WhatIsMissingOrWrongIsNamedWithFileLineAndKey) {
    std::string short_logp = with(R"("logp": [-1])");
    EXPECT_NAMES(error_of({good, short_logp}, {}), ".jsonl:2", "\"logp\"", "1 entries", "2 tokens");
    EXPECT_NAMES(error_of({good, with(R"("entropy": [1, 2, 3])")}, {}), ":2", "\"entropy\"");
    EXPECT_NAMES(
        error_of({with(R"("logp_ref": [-1, -1])"), good}, {"algo.kl=k3", "algo.kl_coef=1"}), ":2",
        "\"logp_ref\"", "algo.kl = k3");
    EXPECT_NAMES(error_of({good}, {"algo.preset=reinforce_pp"}), ":1", "\"logp_ref\"");
    EXPECT_NAMES(error_of({good}, {"algo.preset=ppo"}), ":1", "\"value", "ppo");
    EXPECT_NAMES(error_of({with(R"("value_old": [0, 0])")}, {"algo.preset=ppo"}), "\"value\"");
    EXPECT_NAMES(error_of({good}, {"algo.entropy_coef=0.1"}), ":1", "\"entropy\"");
    EXPECT_NAMES(error_of({good}, {"select.keep_tokens=[0.5,0.5]"}), ":1", "\"entropy\"");
    EXPECT_NAMES(error_of({R"({"prompt_id": 1, "completion_ids": [1], "reward": 1})"}, {}), ":1",
                 "\"logp_old\"");
    EXPECT_NAMES(error_of({R"({"prompt_id": 1, "completion_ids": [1], "logp_old": [-1]})"}, {}),
                 ":1", "\"reward\"");
    EXPECT_NAMES(error_of({R"({"completion_ids": [1], "logp_old": [-1], "reward": 1})"}, {}), ":1",
                 "\"prompt_id\"");
    EXPECT_NAMES(error_of({good, with(R"("logp": [null, -1])")}, {}), ":2", "\"logp\"", "null");
    EXPECT_NAMES(error_of({good, with(R"("logp": [NaN, -1])")}, {}), ":2", "JSON");
    EXPECT_NAMES(error_of({}, {}), "no rows");
}

TEST(StoredRows, AGradientThatIsNotANumberNamesRowAndToken) {
    std::string wild = with(R"("logp": [-1, 900])"); // ratio e^902
    std::string other = R"({"step": 2, "prompt_id": 0, "completion_ids": [1], "logp_old": [-1],
        "reward": 3})";
    EXPECT_NAMES(error_of({other, wild}, {}), ":2", "dlogp", "token 1", "900");
}

TEST(AlgorithmConfig, PresetFillsAndGivenFieldsWin) {
    Args args;
    args.overrides = {"algo.preset=dapo", "algo.clip_eps_low=0.1", "algo.advantage.std_eps=0.5"};
    UpdateConfig config;
    load_config(config, args);
    resolve_algorithm(config.algo, args);
    EXPECT_EQ(config.algo.clip_eps_low, 0.1);
    EXPECT_EQ(config.algo.clip_eps_high, 0.28);
    EXPECT_EQ(config.algo.aggregation, Aggregation::token_mean);
    EXPECT_EQ(config.algo.advantage.std, Std::unbiased);
    EXPECT_EQ(config.algo.advantage.std_eps, 0.5);
}

TEST(AlgorithmConfig, WhatCannotBeIsSaid) {
    EXPECT_NAMES(error_of({good}, {"algo.preset=dr_grpo"}), "algo.max_length_norm");
    EXPECT_NAMES(error_of({good}, {"algo.preset=grop"}), "grpo");
    EXPECT_NAMES(error_of({good}, {"algo.kl=k3", "algo.kl_coef=1", "algo.kl_in=reward"}),
                 "only k1");
    EXPECT_NAMES(error_of({good}, {"algo.kl_coef=0.1"}), "algo.kl_coef", "algo.kl");
    EXPECT_NAMES(error_of({good}, {"algo.kl=k3"}), "algo.kl_coef");
    EXPECT_EQ(error_of({good}, {"algo.kl=none", "algo.kl_coef=0.1"}), "") << "said on purpose";
    EXPECT_NAMES(error_of({good}, {"algo.dual_clip=0.5"}), "algo.dual_clip");
    EXPECT_NAMES(error_of({good}, {"algo.advantage.baseline=own"}), "grpo", "bnpo");
    EXPECT_NAMES(error_of({good}, {"algo.value_coef=1"}), "gae");
    EXPECT_NAMES(error_of({good}, {"algo.advantage.credit_weight=1"}), "credit_weight");
    EXPECT_NAMES(error_of({good}, {"select.mode=intra"}), "keep_samples");
    EXPECT_NAMES(error_of({good}, {"select.mode=intra", "select.keep_samples=[1,2,3]"}),
                 "[start, end]");
    EXPECT_NAMES(error_of({good}, {"select.keep_tokens=[0,1]"}), "keep_tokens");
    EXPECT_NAMES(error_of({with(R"("value": [0, 0])")},
                          {"algo.preset=ppo", "select.mode=pods", "select.keep_samples=[2,2]"}),
                 "pods", "outcome");
    for (const char* unused :
         {"select.keep_samples=[1,1]", "select.keep_samples_intra=[1,1]", "select.seed=3",
          "select.scope=response", "select.token_key=entropy", "select.schedule=step"})
        EXPECT_NAMES(error_of({good}, {unused}), "no effect");
}
