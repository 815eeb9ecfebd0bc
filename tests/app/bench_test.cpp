// rlhf bench and rlhf check parity as a user runs them, on a tiny model.

#include "command.h"

static const std::string model = "model.path=tests/golden/models/llama";
static const Words small = {"bench.batch=3",   "bench.prompt_tokens=9", "bench.new_tokens=5",
                            "bench.repeats=2", "bench.copy_mib=1",      "compute.threads=1",
                            "format=json"};

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
    EXPECT_GT(report["ops"]["linear_forward"]["gflops"].get<double>(), 0);
    EXPECT_GT(report["memory_gb_per_s"].get<double>(), 0);
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

// For a card that is not there: work divided by the data sheet's limits. With bytes as good as free it is
// FLOP / peak, attention's backward with its scores once more.
TEST(Bench, ComputesTheBoundOfACardThatIsNotThere) {
    Json report = bench({"bench", "train", model, "bench.card=H100", "bench.peak_tflops=1e-9"});
    EXPECT_EQ(report["device"], "computed, nothing ran: H100");
    EXPECT_EQ(report["dtype"], "bf16");
    EXPECT_EQ(report["memory_gb_per_s"].get<double>(), 3350);
    const double weights = 2 * (24.0 * 40 + 24 * 24 + 3 * 24 * 37), A = 3 * 91;
    const double gemm = 2 * 39 * weights + 2 * 15 * 97 * 24, scores = 2 * 3 * 8 * A;
    // the head's forward runs once: SFT's gradient is known beforehand
    EXPECT_NEAR(report["parts"]["gemm"].get<double>(), 3 * gemm / 1e3, 1e-3 * gemm / 1e3);
    EXPECT_NEAR(report["parts"]["attention"].get<double>(), 14 * scores / 1e3, 1e-3 * scores / 1e3);
    EXPECT_EQ(report["ops"]["attention_backward"]["calls"], 2);

    report = bench({"bench", "generate", model, "bench.card=A100"});
    // 3 sequences of 9 + 2.5 cached tokens on average; P and V C in bf16
    const double bytes = 2 * (weights + 97 * 24) + 2 * 2 * 2 * 1 * 8 * 3 * 11.5;
    EXPECT_NEAR(report["decode_step_gb"].get<double>(), bytes * 1e-9, 1e-15);
    EXPECT_LT(report["decode_memory_share"].get<double>(), 1);
    EXPECT_GT(report["decode_memory_share"].get<double>(), 0.2); // activations of 24 channels count
    expect_consistent(bench({"bench", "rl", model, "bench.group=3", "bench.card=H100 PCIe"}));

    Outcome outcome = rlhf({"bench", "train", model, "bench.card=A10G"});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("A10G is not known; known are B200"), std::string::npos);
}

// Nothing is drawn on such a card, so it is all the same which token would end a sequence: every one gets its
// new tokens. Decoding reads the matrices and the cached keys and values once per step, and its activations.
TEST(Bench, ComputedRatesAreThoseOfTheFormulaWhateverEndsASequence) {
    Scratch at;
    Json config = read_json("tests/golden/models/llama/config.json");
    config["hidden_size"] = 256,
    config["intermediate_size"] = 704; // so that the matrices count most
    config["num_attention_heads"] = 4, config["num_key_value_heads"] = 2, config["head_dim"] = 64;
    Json first;
    for (int eos : {0, 1, 5}) {
        config["eos_token_id"] = eos;
        make_directories(at("model"));
        write_file(at("model/config.json"), config.dump());
        Json generate =
            bench({"bench", "generate", "model.path=" + at("model"), "bench.card=H100"});
        Json rl =
            bench({"bench", "rl", "model.path=" + at("model"), "bench.card=H100", "bench.group=3"});
        const double step = generate["decode_step_gb"].get<double>() / 3350, steps = 4, B = 3;
        const double decode = generate["decode_tokens_per_s"].get<double>();
        EXPECT_LT(decode, B / step) << "EOS " << eos;
        EXPECT_GT(decode, B / step / 1.5) << "EOS " << eos;
        EXPECT_NEAR(
            generate["tokens_per_s"].get<double>(),
            B * (steps + 1) /
                (B * 9 / generate["prefill_tokens_per_s"].get<double>() + steps * B / decode),
            1e-6 * decode);
        EXPECT_EQ(generate["ops"]["decode_attention"]["calls"], 2 * steps); // 2 layers
        EXPECT_EQ(rl["ops"]["decode_attention"]["calls"], 2 * steps);
        // 15 new tokens cannot take less than five reads of the matrices, one of the prompt among them
        EXPECT_LT(rl["tokens_per_s"].get<double>(), B * (steps + 1) / ((steps + 1) * step / 1.1));
        if (eos == 0) first = generate;
        EXPECT_EQ(generate["tokens_per_s"], first["tokens_per_s"]);
    }
}

TEST(Bench, OpsMoveTheirBytes) {
    Json report = bench({"bench", "ops", model, "train.tokens_per_micro_batch=70"});
    EXPECT_EQ(report["tokens"], 70);
    for (const char* op : {"copy", "rmsnorm_backward", "swiglu_forward", "decode_attention",
                           "token_logprob_backward", "adamw"}) {
        const Json& one = report["ops"][op];
        EXPECT_GT(one["gb_per_s"].get<double>(), 0) << op;
    }
    const Json& copy = report["ops"]["copy"];
    EXPECT_NEAR(copy["gb_per_s"].get<double>() * copy["seconds"].get<double>(),
                2 * 70 * 24 * 4 * 1e-9, 1e-12);
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
