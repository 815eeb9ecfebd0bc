// rlhf bench and rlhf check parity as a user runs them, on a tiny model.

#include "command.h"

using Words = std::vector<std::string>;

static const std::string model = "model.path=tests/golden/models/llama";
static const Words small = {"bench.batch=3",   "bench.prompt_tokens=9", "bench.new_tokens=5",
                            "bench.repeats=2", "compute.threads=1",     "format=json"};

static Json bench(Words words) {
    words.insert(words.end(), small.begin(), small.end());
    Outcome outcome = rlhf(words);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return parse_json(outcome.out, "standard output");
}

static void expect_consistent(const Json& report) {
    double share = report["gflops"].get<double>() / report["gemm_peak_gflops"].get<double>();
    EXPECT_NEAR(report["gemm_peak_share"].get<double>(), share, 1e-9 * share);
    EXPECT_GT(report["tokens_per_s"].get<double>(), 0);
    for (const char* part : {"gemm", "attention", "norm", "head", "optimiser", "rest"})
        EXPECT_TRUE(report["parts"][part].get<double>() >= 0) << part;
    EXPECT_GT(report["parts"]["gemm"].get<double>(), 0);
    EXPECT_GT(report["parts"]["attention"].get<double>(), 0);
}

TEST(Bench, TrainCountsTokensAndWork) {
    Json report = bench({"bench", "train", model});
    expect_consistent(report);
    EXPECT_EQ(report["tokens_per_step"].get<double>(), 3 * 14);
    EXPECT_EQ(report["targets_per_step"].get<double>(), 3 * 5);
    EXPECT_GT(report["parts"]["optimiser"].get<double>(), 0);
    // llama: L 2, C 24, H 3, K 1, D 8, F 37, V 97; 13 fed tokens per row, 91 pairs of query and key
    double weights = 2 * (24.0 * 40 + 24 * 24 + 3 * 24 * 37);
    double flop = 3 * (2 * 39 * weights + 2 * 15 * 97 * 24 + 4 * 2 * 3 * 8 * 3 * 91);
    EXPECT_NEAR(report["gflop_per_token"].get<double>(), flop / 42 * 1e-9, 1e-18);
}

TEST(Bench, GenerateDrawsEveryToken) {
    Json report = bench({"bench", "generate", model});
    expect_consistent(report);
    EXPECT_GT(report["prefill_tokens_per_s"].get<double>(), 0);
    EXPECT_GT(report["decode_tokens_per_s"].get<double>(), 0);
    EXPECT_EQ(report["parts"]["optimiser"].get<double>(), 0);
}

TEST(Bench, AnRlStepDrawsAndTrains) {
    Json report = bench({"bench", "rl", model, "bench.group=3"});
    expect_consistent(report);
    EXPECT_GT(report["generate_seconds"].get<double>(), 0);
    EXPECT_GT(report["train_seconds"].get<double>(), 0);
    EXPECT_GT(report["parts"]["optimiser"].get<double>(), 0);
    Outcome outcome = rlhf({"bench", "rl", model, "bench.batch=4", "bench.group=3"});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("bench.group=3"), std::string::npos) << outcome.err;
}

TEST(Bench, NeedsAModelAndAKind) {
    EXPECT_EQ(rlhf({"bench", "train"}).status, 1);
    EXPECT_EQ(rlhf({"bench", model}).status, 1);
}

TEST(CheckParity, PassesOnATinyModelAndRefusesARewardModel) {
    Outcome outcome = rlhf({"check", "parity", model, "compute.threads=1"});
    EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
    EXPECT_NE(outcome.out.find("every check passed"), std::string::npos);
    EXPECT_EQ(
        rlhf({"check", "parity", "model.path=tests/golden/models/token_classification"}).status, 1);
}
