// The commands loss and diff as a user sees them: files in, files and the last line of standard error out.

#include "app/commands.h"
#include "base/file.h"
#include "rl/algorithms.h"
#include "rl/metric_table.h"
#include "testing.h"

#include <unistd.h>

extern const Command loss_command, diff_command;

static const char* const rows_path = "rollouts=tests/golden/rl/rows.jsonl";

static std::string output_path() { return format("/tmp/rlhf_loss_%d.out", (int)getpid()); }

// Runs a command; `log` gets what it wrote to standard error.
static std::string run(const Command& command, Args args, std::string* log = nullptr) {
    args.overrides.push_back(rows_path);
    args.overrides.push_back("out=" + output_path());
    testing::internal::CaptureStderr();
    int status = command.run(args);
    std::string errors = testing::internal::GetCapturedStderr();
    EXPECT_EQ(status, 0);
    if (log) *log = errors;
    std::string text = read_file(output_path());
    unlink(output_path().c_str());
    return text;
}

TEST(LossCommand, OneRowPerRowAndTheLossOnTheLastLine) {
    std::string log;
    std::string text = run(loss_command, {"configs/ppo.json", {"algo.entropy_coef=0.01"}}, &log);
    std::vector<Json> in, out;
    for_each_row("tests/golden/rl/rows.jsonl",
                 [&](const Json& row, const std::string&) { in.push_back(row); });
    size_t begin = 0;
    for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
        out.push_back(parse_json(text.substr(begin, end - begin), "output"));
    ASSERT_EQ(in.size(), out.size());
    double policy_gradient = 0;
    for (size_t i = 0; i < in.size(); ++i) {
        EXPECT_EQ(in[i]["prompt_id"], out[i]["prompt_id"]);
        EXPECT_EQ(in[i]["sample"], out[i]["sample"]);
        size_t length = in[i]["completion_ids"].size();
        for (const char* key : {"advantage", "token_kept", "dlogp", "dvalue", "dentropy"})
            EXPECT_EQ(out[i][key].size(), length) << key;
        EXPECT_EQ(out[i]["kept"], true);
        for (const Json& g : out[i]["dlogp"]) policy_gradient += g.get<double>() * g.get<double>();
        EXPECT_EQ(out[i]["dentropy"][0], out[0]["dentropy"][0]) << "token mean: one weight for all";
    }
    log.pop_back(); // the last newline
    Json summary = parse_json(log.substr(log.rfind('\n') + 1), "last line");
    double sum = 0;
    for (const char* part : {"policy", "kl", "entropy", "value"})
        sum += summary[part].get<double>();
    EXPECT_DOUBLE_EQ(summary["loss"].get<double>(), sum);
    EXPECT_EQ(summary["rows"], in.size());
    int described = 0;
    for (const MetricMeaning& row : metric_table())
        described += std::string(row.command) == "loss" && summary.contains(row.name);
    EXPECT_EQ(described, (int)summary.size()) << "every number has its row in the table of metrics";
    EXPECT_EQ(summary["tokens"], summary["tokens_read"]);
    // 17 digits: what was written reads back as what was computed
    EXPECT_DOUBLE_EQ(summary["dlogp_norm"].get<double>(), std::sqrt(policy_gradient));
}

TEST(LossCommand, EveryShippedConfigurationRuns) {
    std::map<std::string, std::vector<std::string>> overrides;
    for (const Algorithm& row : algorithm_table()) {
        const Aggregation aggregation = preset_algorithm(row.name).aggregation;
        const bool by_length = aggregation == Aggregation::seq_mean_token_sum_norm;
        overrides[row.name].assign(by_length, "algo.max_length_norm=8");
    }
    for (const char* name : {"d3s_grpo", "d3s_gspo", "pods", "cppo", "entropy_tokens"})
        overrides[name] = {};
    for (const auto& [name, words] : overrides) {
        std::string path = "configs/" + name + ".json";
        if (!file_exists(path)) path = "configs/peers/" + name + ".json";
        EXPECT_FALSE(run(loss_command, {path, words}).empty()) << path;
    }
}

TEST(DiffCommand, SaysWhereTwoAlgorithmsDiffer) {
    Args args{"configs/grpo.json", {}};
    args.second_config_path = "configs/dapo.json";
    std::string text = run(diff_command, args);
    for (const char* part :
         {"algo.clip_eps_high", "0.28", "seq_mean_token_mean", "dlogp", "cosine", "rows.jsonl:"})
        EXPECT_NE(text.find(part), std::string::npos) << part << " is not in\n" << text;
    args.second_config_path = "configs/grpo.json";
    text = run(diff_command, args);
    EXPECT_NE(text.find("the two are the same algorithm"), std::string::npos);
    EXPECT_NE(text.find("the gradients are the same bits"), std::string::npos);
}
