// Whole runs on the GPU, as a user starts them: a model trained from nothing and then by GRPO, beside the CPU.

#include "command.h"

namespace {
// Members of the metrics lines that both devices must agree on.
void expect_same_run(const std::string& on_cpu, const std::string& on_gpu,
                     std::initializer_list<const char*> members) {
    const auto want = rows_of(on_cpu + "/metrics.jsonl"),
               found = rows_of(on_gpu + "/metrics.jsonl");
    ASSERT_EQ(found.size(), want.size());
    for (size_t step = 0; step < want.size(); ++step)
        for (const char* member : members) {
            const double x = want[step][member].get<double>(),
                         y = found[step][member].get<double>();
            // f32 sums in another order, grown by the steps before
            EXPECT_NEAR(y, x, 1e-3 * (1e-3 + std::abs(x))) << member << ", step " << step + 1;
        }
}
} // namespace

TEST(GpuRunSlow, SftAndGrpoGoAsOnTheCpu) {
    Scratch scratch;
    auto run = [&](const std::string& device, std::vector<std::string> words) {
        words.push_back("compute.device=" + device);
        if (device == "cuda") words.push_back("compute.dtype=f32");
        Outcome outcome = rlhf(words);
        EXPECT_EQ(outcome.status, 0) << device << ": " << outcome.err;
        return outcome.status == 0;
    };
    for (const char* device : {"cpu", "cuda"}) {
        const std::string at = scratch(device);
        ASSERT_TRUE(run(device, {"sft", "configs/sft_arithmetic.json", "train.goal_loss=0",
                                 "run.dir=" + at + "_sft", "tiny.layers=1", "tiny.width=32",
                                 "train.rows_per_step=8", "train.steps=5", "data.eval_rows=4"}));
        // GRPO from one and the same start, the CPU's; the length penalty makes rewards differ
        ASSERT_TRUE(run(device, {"rl", "configs/grpo_arithmetic.json",
                                 "model.path=" + scratch("cpu") + "_sft", "run.dir=" + at + "_rl",
                                 "algo.overlong_length=4", "algo.overlong_cache=4", "sample.n=4",
                                 "sample.max_new_tokens=6", "train.prompts_per_step=3",
                                 "train.steps=2", "train.eval_problems=0"}));
    }
    expect_same_run(scratch("cpu") + "_sft", scratch("cuda") + "_sft",
                    {"loss_nats_per_token", "grad_norm"});
    for (const Json& line : rows_of(scratch("cpu") + "_rl/metrics.jsonl"))
        EXPECT_GT(line["grad_norm"].get<double>(), 0); // there is something to compare
    expect_same_run(scratch("cpu") + "_rl", scratch("cuda") + "_rl",
                    {"loss", "grad_norm", "completion_tokens_mean"});
}

// bench and check parity on the GPU, on a tiny model.
TEST(GpuRunSlow, BenchAndParity) {
    const std::string model = "model.path=tests/golden/models/qwen2";
    Outcome parity = rlhf({"check", "parity", model, "compute.device=cuda"});
    EXPECT_EQ(parity.status, 0) << parity.out << parity.err;
    EXPECT_NE(parity.out.find("cuda bf16 vs CPU f32, gradient"), std::string::npos) << parity.out;
    for (const char* what : {"train", "generate", "rl", "ops"}) {
        Outcome bench =
            rlhf({"bench", what, model, "compute.device=cuda", "bench.batch=2", "bench.group=2",
                  "bench.prompt_tokens=5", "bench.new_tokens=3", "bench.repeats=1",
                  "bench.copy_mib=1", "train.tokens_per_micro_batch=32", "format=json"});
        ASSERT_EQ(bench.status, 0) << what << ": " << bench.err;
        const Json report = parse_json(bench.out, "standard output");
        EXPECT_EQ(report["dtype"], "bf16");
        EXPECT_GT(report["memory_gb_per_s"].get<double>(), 0);
        const std::string op = what == std::string("ops") ? "rmsnorm_forward" : "linear_forward";
        EXPECT_GT(report["ops"][op]["gb_per_s"].get<double>(), 0) << what;
        if (what == std::string("generate")) {
            EXPECT_GT(report["decode_gb_per_s"].get<double>(), 0);
        }
    }
}
