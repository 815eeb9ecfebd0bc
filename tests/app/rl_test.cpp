// Runs of rl as a user starts them.

#include "command.h"

// A policy to start from, in `directory`: one layer, one step of training.
static void make_start(const std::string& directory) {
    Outcome sft =
        rlhf({"sft", "configs/sft_arithmetic.json", "run.dir=" + directory, "tiny.layers=1",
              "tiny.width=16", "train.rows_per_step=2", "train.steps=1"});
    ASSERT_EQ(sft.status, 0) << sft.err;
}

// A continued run goes on after the checkpoint that it was continued from has been removed, and its event
// file holds every step once.
TEST(RlResume, OutlivesTheCheckpointItCameFrom) {
    Scratch scratch;
    make_start(scratch("start"));
    for (std::string preset : {"grpo", "ppo", "ppo critic.shared=true"}) {
        std::string run = scratch(preset);
        auto with_steps = [&](const char* steps) {
            const size_t more = preset.find(' ');
            return rlhf({"rl", "model.path=" + scratch("start"), "task.name=arithmetic",
                         "run.dir=" + run, "algo.preset=" + preset.substr(0, more),
                         more < preset.size() ? preset.substr(more + 1) : "critic.shared=false",
                         "sample.n=2", "sample.max_new_tokens=4", "train.prompts_per_step=2",
                         "train.eval_problems=2", "run.save_every=1", "run.keep=2",
                         "run.resume=true", steps});
        };
        Outcome first = with_steps("train.steps=1");
        ASSERT_EQ(first.status, 0) << first.err;
        Outcome more = with_steps("train.steps=5");
        ASSERT_EQ(more.status, 0) << more.err;
        EXPECT_EQ(list_directory(join_path(run, "checkpoints")),
                  (std::vector<std::string>{"000004", "000005"}));
        EXPECT_EQ(rows_of(join_path(run, "metrics.jsonl")).size(), 5u);
        std::string events;
        for (const std::string& name : list_directory(run))
            if (contains(name, "events.out.tfevents.")) events += read_file(join_path(run, name));
        int steps = 0;
        for (size_t at = 0; (at = events.find("\x09grad_norm", at)) != std::string::npos; ++at)
            ++steps;
        EXPECT_EQ(steps, 5);
    }
}

// With one optimiser step per rollout its tokens go forward once, and the ratio is 1 bit for bit; with two steps, or
// where they do not fit the memory of a micro-batch, the update has a forward pass of its own.
TEST(RlRecording, ServesTheUpdateWhereThereIsOne) {
    Scratch scratch;
    make_start(scratch("start"));
    auto last_row = [&](const std::string& name, std::vector<std::string> more) {
        std::vector<std::string> words = {"rl",
                                          "model.path=" + scratch("start"),
                                          "task.name=arithmetic",
                                          "run.dir=" + scratch(name),
                                          "algo.preset=grpo",
                                          "sample.n=4",
                                          "sample.max_new_tokens=6",
                                          "train.prompts_per_step=4",
                                          "train.eval_problems=0",
                                          "credit=[{\"source\": \"rule\"}]",
                                          "train.steps=2"};
        words.insert(words.end(), more.begin(), more.end());
        Outcome outcome = rlhf(words);
        EXPECT_EQ(outcome.status, 0) << outcome.err;
        return rows_of(join_path(scratch(name), "metrics.jsonl")).back();
    };
    const Json once = last_row("once", {});
    EXPECT_GT(once["computed_tokens"].get<int>(), 0);
    EXPECT_EQ(once["recorded_tokens"], once["computed_tokens"]);
    EXPECT_EQ(once["logp_gap_nats"], 0);
    EXPECT_EQ(last_row("twice", {"train.epochs=2"})["recorded_tokens"], 0);
    EXPECT_EQ(last_row("small", {"train.tokens_per_micro_batch=40"})["recorded_tokens"], 0);
}
