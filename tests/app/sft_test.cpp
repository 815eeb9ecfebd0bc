// rlhf sft as a user runs it, on the built-in tiny model.

#include "base/rng.h"
#include "command.h"
#include "model/hf.h"

namespace {

// Twelve quick steps of a very small model, from the arithmetic task.
Words quick(const std::string& run, const Words& more = {}) {
    return tiny_sft + Words{"train.steps=12",        "train.rows_per_step=4", "data.eval_rows=4",
                            "optim.schedule=cosine", "optim.warmup_steps=3",  "run.save_every=3",
                            "run.dir=" + run} +
           more;
}

std::string weights(const std::string& run, const char* step) {
    return read_file(run + "/checkpoints/" + step + "/model.safetensors");
}

// Rows of ids of the built-in vocabulary, 3 .. 20 tokens long.
void write_rows(const std::string& path, int count, uint64_t seed) {
    std::string text;
    Rng rng(seed);
    for (int i = 0; i < count; ++i) {
        std::vector<int> ids;
        for (int t = 3 + rng.below(18); t > 0; --t) ids.push_back(rng.below(14));
        text += Json({{"ids", ids}}).dump() + "\n";
    }
    write_file(path, text);
}

// A run whose model the other tests start from.
std::string make_model(const Scratch& at) {
    EXPECT_EQ(rlhf(quick(at("base"), {"train.steps=1"})).status, 0);
    return at("base/initial");
}

Words on_rows(const std::string& model, const std::string& rows, const std::string& run,
              const Words& more = {}) {
    Words words = {"sft",
                   "model.path=" + model,
                   "data.train=" + rows,
                   "train.steps=6",
                   "train.rows_per_step=5",
                   "optim.lr=0.01",
                   "compute.threads=1",
                   "run.dir=" + run};
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

} // namespace

TEST(Sft, LowersTheLossAndTellsSo) {
    Scratch at;
    Outcome outcome = rlhf(quick(at("run")));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    std::vector<Json> metrics = rows_of(at("run/metrics.jsonl"));
    ASSERT_EQ(metrics.size(), 12u);
    double before = metrics[0]["eval_loss_before_nats_per_token"];
    double after = metrics[11]["eval_loss_nats_per_token"];
    // A fresh model knows nothing about 16 tokens; its logits' deviation of about 1 adds about a half.
    EXPECT_NEAR(before, std::log(16) + 0.5, 0.5);
    EXPECT_LT(after, before - 0.1);
    EXPECT_TRUE(contains(outcome.out, format("eval loss %.4f before, %.4f after", before, after)));
    for (const char* key :
         {"step", "loss_nats_per_token", "grad_norm", "lr", "tokens", "step_seconds"})
        EXPECT_TRUE(metrics[5].contains(key)) << key;
    EXPECT_DOUBLE_EQ(metrics[1]["lr"], 0.01 * 2 / 3); // warm-up
    EXPECT_EQ(list_directory(at("run/checkpoints")), (Words{"000009", "000012"}));
}

TEST(Sft, TheSameRunTwiceGivesTheSameBytes) {
    Scratch at;
    ASSERT_EQ(rlhf(quick(at("a"))).status, 0);
    ASSERT_EQ(rlhf(quick(at("b"), {"compute.threads=2"})).status, 0);
    ASSERT_EQ(rlhf(quick(at("c"), {"run.seed=1"})).status, 0);
    EXPECT_EQ(weights(at("a"), "000012"), weights(at("b"), "000012"));
    EXPECT_NE(weights(at("a"), "000012"), weights(at("c"), "000012"));
}

// kill -9 whenever, as often as it may be: the final weights are those of the undisturbed run.
TEST(Sft, ResumeAfterKillGivesTheSameBytes) {
    Scratch at;
    const Words more = {"run.save_dtype=bf16", "run.resume=true", "train.steps=40"};
    ASSERT_EQ(rlhf(quick(at("whole"), more)).status, 0);
    Rng rng(::getpid());
    int killed = 0;
    for (int trial = 0; trial < 5; ++trial) {
        std::string run = at("run" + std::to_string(trial)), metrics = run + "/metrics.jsonl";
        for (int life = 0; life < 2; ++life) {
            Command command(quick(run, more));
            // until so many lines of metrics are there, and then a moment more
            size_t lines = rng.below(30);
            for (int wait = 0; wait < 20000; ++wait) {
                std::string text = file_exists(metrics) ? read_file(metrics) : "";
                if ((size_t)std::count(text.begin(), text.end(), '\n') >= lines) break;
                ::usleep(200);
            }
            ::usleep(rng.below(3000));
            ::kill(command.pid, SIGKILL);
            killed += command.wait().status == 128 + SIGKILL;
        }
        Outcome outcome = rlhf(quick(run, more));
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        EXPECT_EQ(weights(run, "000040"), weights(at("whole"), "000040"));
        EXPECT_EQ(read_file(run + "/checkpoints/000040/trainer/trainer.safetensors"),
                  read_file(at("whole/checkpoints/000040/trainer/trainer.safetensors")));
        std::vector<Json> lines = rows_of(metrics), whole = rows_of(at("whole/metrics.jsonl"));
        ASSERT_EQ(lines.size(), whole.size());
        for (size_t i = 0; i < lines.size(); ++i) {
            EXPECT_EQ(lines[i]["step"], i + 1);
            EXPECT_EQ(lines[i]["loss_nats_per_token"], whole[i]["loss_nats_per_token"]);
        }
    }
    EXPECT_GE(killed, 1); // the others were faster than the signal
}

// By the biases alone, rotated as rope rotates them, the token h+1 back has the largest logit of head h, and
// it is tiny.look_back.
TEST(Sft, TheFreshModelLooksBack) {
    Scratch at;
    ASSERT_EQ(rlhf(quick(at("run"), {"train.steps=1", "tiny.family=qwen2", "tiny.width=32",
                                     "tiny.rope_theta=10", "tiny.look_back=5"}))
                  .status,
              0);
    auto model = load_model(at("run/initial"), {}, false);
    const int H = 2, D = 16;
    ASSERT_EQ(model->config.D, D);
    auto rotated = [&](const float* head, int position) {
        std::vector<double> out(D);
        for (int i = 0; i < D / 2; ++i) {
            const double angle = position * std::pow(10.0, -2.0 * i / D);
            out[i] = head[i] * std::cos(angle) - head[i + D / 2] * std::sin(angle);
            out[i + D / 2] = head[i + D / 2] * std::cos(angle) + head[i] * std::sin(angle);
        }
        return out;
    };
    const float* bias = model->params.layer[0].qkv_bias.as<float>();
    for (int h = 0; h < H; ++h) {
        const std::vector<double> query = rotated(bias + h * D, 30);
        for (int back = 0; back <= 30; ++back) {
            const std::vector<double> key = rotated(bias + (H + h) * D, 30 - back);
            double logit = 0;
            for (int i = 0; i < D; ++i) logit += query[i] * key[i] / std::sqrt((double)D);
            if (back == h + 1)
                EXPECT_NEAR(logit, 5, 1e-5);
            else
                EXPECT_LT(logit, 4.8) << "head " << h << ", " << back << " back";
        }
    }
    expect_refusal(rlhf(quick(at("none"), {"tiny.look_back=5"})), {"tiny.family=qwen2"});
}

// A run with a goal is the run without one, cut off: same steps, same bytes, after a resume, too.
TEST(Sft, EndsWithTheHeldOutLossItIsToReach) {
    Scratch at;
    const Words more = {"train.eval_every=3", "run.keep=9", "run.resume=true"};
    auto with_goal = [&](const std::string& run, double loss) {
        Words words = quick(at(run), more);
        words.push_back(format("train.goal_loss=%.17g", loss));
        return words;
    };
    ASSERT_EQ(rlhf(quick(at("whole"), more)).status, 0);
    std::vector<double> held_out;
    for (const Json& line : rows_of(at("whole/metrics.jsonl")))
        if (line.contains("eval_loss_nats_per_token"))
            held_out.push_back(line["eval_loss_nats_per_token"]);
    ASSERT_EQ(held_out.size(), 4u);
    ASSERT_LT(held_out[1], held_out[0]);

    Outcome outcome = rlhf(with_goal("cut", held_out[1]));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(list_directory(at("cut/checkpoints")), (Words{"000003", "000006"}));
    EXPECT_EQ(weights(at("cut"), "000006"), weights(at("whole"), "000006"));
    Outcome again = rlhf(with_goal("cut", held_out[1]));
    EXPECT_EQ(again.status, 0);
    EXPECT_TRUE(contains(again.out, "has 6 of 12 steps and the loss it was to reach")) << again.out;

    remove_tree(at("cut/checkpoints/000006"));
    ASSERT_EQ(rlhf(with_goal("cut", held_out[1])).status, 0);
    EXPECT_EQ(weights(at("cut"), "000006"), weights(at("whole"), "000006"));
    EXPECT_EQ(rows_of(at("cut/metrics.jsonl")).size(), 6u);

    // out of reach: all steps, the model stays, and it is an error, as often as one asks
    for (int time = 0; time < 2; ++time)
        expect_refusal(rlhf(with_goal("never", 1e-3)),
                       {"not learnt", "after 12 steps", "train.goal_loss=0.001"});
    EXPECT_EQ(weights(at("never"), "000012"), weights(at("whole"), "000012"));
    expect_refusal(rlhf(quick(at("none"), {"train.goal_loss=1"})), {"train.eval_every"});
}

TEST(Sft, AFinishedRunSaysSo) {
    Scratch at;
    ASSERT_EQ(rlhf(quick(at("run"))).status, 0);
    std::string before = read_file(at("run/metrics.jsonl"));
    Outcome again = rlhf(quick(at("run"), {"run.resume=true"}));
    EXPECT_EQ(again.status, 0);
    EXPECT_TRUE(contains(again.out, "finished")) << again.out;
    EXPECT_EQ(read_file(at("run/metrics.jsonl")), before);
    expect_refusal(rlhf(quick(at("run"))), {"not empty", "run.resume=true"});
}

TEST(Sft, TheCutIntoMicroBatchesDoesNotChangeTheStep) {
    Scratch at;
    std::string model = make_model(at);
    write_rows(at("rows.jsonl"), 12, 1);
    std::vector<Json> wanted;
    int batches_before = 0;
    for (int budget : {4096, 40, 20, 1}) { // 1, 2, more micro-batches, and one per row
        std::string run = at("run" + std::to_string(budget));
        Outcome outcome = rlhf(on_rows(
            model, at("rows.jsonl"), run,
            {"train.tokens_per_micro_batch=" + std::to_string(budget), "compute.dtype=f64"}));
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        std::vector<Json> found = rows_of(run + "/metrics.jsonl");
        if (wanted.empty()) wanted = found;
        int batches = found[0]["micro_batches"];
        EXPECT_EQ(batches == 1, budget == 4096);
        EXPECT_EQ(batches == 5, budget == 1);
        EXPECT_GT(batches, batches_before);
        batches_before = batches;
        for (size_t i = 0; i < wanted.size(); ++i)
            for (const char* key : {"loss_nats_per_token", "grad_norm"}) {
                // Sums in another order: some rounding errors of f64, grown by six steps.
                double a = found[i][key], b = wanted[i][key];
                EXPECT_NEAR(a, b, 1e-10 * b) << key << " of step " << i + 1;
            }
    }
}

TEST(Sft, RecomputingActivationsGivesTheSameBytes) {
    Scratch at;
    ASSERT_EQ(rlhf(quick(at("a"))).status, 0);
    ASSERT_EQ(rlhf(quick(at("b"), {"compute.recompute=true"})).status, 0);
    EXPECT_EQ(weights(at("a"), "000012"), weights(at("b"), "000012"));
}

TEST(Sft, EveryFormOfRowIsTrained) {
    Scratch at;
    std::string model = make_model(at);
    const char* rows[] = {R"({"ids": [14, 10, 5, 2, 13]})",
                          R"({"text": "+52>71"})",
                          R"({"prompt": "+52>71", "completion": "+5244"})",
                          R"({"prompt": "+52>71", "response": "+5244"})",
                          R"({"prompt_ids": [14, 10, 5, 2], "completion_ids": [1, 13]})",
                          R"({"question": "+52>71", "answer": "+5244"})"};
    const int trained[] = {4, 6, 6, 6, 2, 6};
    for (int i = 0; i < 6; ++i) {
        write_file(at("rows.jsonl"), std::string(rows[i]) + "\n");
        remove_tree(at("run"));
        Outcome outcome = rlhf(on_rows(model, at("rows.jsonl"), at("run"),
                                       {"train.steps=1", "train.rows_per_step=1"}));
        ASSERT_EQ(outcome.status, 0) << rows[i] << ": " << outcome.err;
        EXPECT_EQ(rows_of(at("run/metrics.jsonl"))[0]["trained_tokens"], trained[i]) << rows[i];
    }
}

TEST(Sft, BadInputIsRefusedAndLeavesNothingBehind) {
    Scratch at;
    std::string model = make_model(at);
    auto try_rows = [&](const std::string& rows, const Words& more = {}) {
        write_file(at("rows.jsonl"), rows);
        Outcome outcome = rlhf(on_rows(model, at("rows.jsonl"), at("run"), more));
        EXPECT_FALSE(file_exists(at("run"))) << "a failed start must not block the next one";
        return outcome;
    };
    expect_refusal(try_rows("{\"ids\": [1, 2]}\n{\"ids\": [1, 16]}\n"), {"rows.jsonl:2", "16"});
    expect_refusal(try_rows("{\"ids\": [1, 2]}\n{\"ids\": [1, \n"), {"rows.jsonl:2"});
    expect_refusal(try_rows("{\"prompt\": \"+52>71\"}\n"), {"rows.jsonl:1", "completion"});
    expect_refusal(try_rows("{\"ids\": [1]}\n"), {"rows.jsonl:1"});
    expect_refusal(try_rows(""), {"rows.jsonl"});
    std::vector<int> ids(600, 1); // the context is 512
    expect_refusal(try_rows(Json({{"ids", ids}}).dump() + "\n"), {"rows.jsonl:1", "600", "512"});
    expect_refusal(try_rows("{\"ids\": [1, 2]}\n", {"compute.device=cuda"}), {"compute.device"});
    expect_refusal(try_rows("{\"ids\": [1, 2]}\n", {"task.name=arithmetic"}), {"data.train"});
    expect_refusal(try_rows("{\"ids\": [1, 2]}\n", {"optim.lrr=1"}), {"optim.lrr", "optim.lr"});
    expect_refusal(rlhf({"sft", "run.dir=" + at("run")}), {"model.path"});
    expect_refusal(rlhf(quick("/proc/nowhere/run")), {"/proc/nowhere"});
}

TEST(Sft, ResumeRefusesAnotherModelOtherDataAndAnotherConfiguration) {
    Scratch at;
    std::string model = make_model(at);
    write_rows(at("rows.jsonl"), 12, 1);
    Words words = on_rows(model, at("rows.jsonl"), at("run"), {"run.resume=true"});
    ASSERT_EQ(rlhf(words).status, 0);
    words.push_back("train.steps=8");
    auto changed = [&](const std::string& key) {
        Words other = words;
        other.push_back(key);
        return rlhf(other);
    };
    expect_refusal(changed("model.path=" + at("base")), {"model.path", "/initial"});
    expect_refusal(changed("optim.lr=0.02"), {"optim.lr was 0.01 and is now 0.02"});
    expect_refusal(changed("train.steps=5"), {"train.steps"});
    write_rows(at("rows.jsonl"), 12, 2);
    expect_refusal(rlhf(words), {"rows.jsonl", "000006"});
    write_rows(at("rows.jsonl"), 12, 1);
    // without its marker the directory is no checkpoint: the run starts again
    remove_tree(at("run/checkpoints/000006/trainer_state.json"));
    EXPECT_EQ(rlhf(words).status, 0);
    EXPECT_EQ(rows_of(at("run/metrics.jsonl")).size(), 8u);
}

TEST(Sft, AFullDiskLosesNoCheckpoint) {
    Scratch at;
    ASSERT_EQ(rlhf(quick(at("run"), {"train.steps=2"})).status, 0);
    Words words = quick(at("run"), {"train.steps=4", "run.resume=true", "optim.schedule=cosine"});
    std::string before = weights(at("run"), "000002");
    expect_refusal(rlhf(words, 8000), {"cannot write", at("run").c_str()});
    EXPECT_EQ(list_directory(at("run/checkpoints")), Words{"000002"});
    EXPECT_EQ(weights(at("run"), "000002"), before);
    EXPECT_EQ(rlhf(words).status, 0);
    EXPECT_EQ(list_directory(at("run/checkpoints")), (Words{"000003", "000004"}));
}
