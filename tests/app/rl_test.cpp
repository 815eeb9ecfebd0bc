// Runs of rl as a user starts them.

#include "command.h"
#include "format/safetensors.h"
#include "rl/metric_table.h"

#include <filesystem>
#include <set>

// A policy to start from, in `directory`: one layer, one step of training.
static void make_start(const std::string& directory) {
    Outcome sft =
        rlhf({"sft", "configs/sft_arithmetic.json", "train.goal_loss=0", "run.dir=" + directory,
              "tiny.layers=1", "tiny.width=16", "train.rows_per_step=2", "train.steps=1"});
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

namespace {
// A short PPO run of `steps` steps; more: keys of its own.
Outcome ppo_run(const std::string& start, const std::string& run, const char* steps,
                const std::string& more) {
    return rlhf({"rl", "model.path=" + start, "task.name=arithmetic", "run.dir=" + run,
                 "algo.preset=ppo", "sample.n=2", "sample.max_new_tokens=4",
                 "train.prompts_per_step=2", "train.eval_problems=0", "run.save_every=2",
                 "run.resume=true", more, steps});
}

// The checkpoint as it was written before trainer/: what is in there beside the model's own files, a
// value head among the model's tensors.
void to_older_form(const std::string& checkpoint) {
    const std::string trainer = join_path(checkpoint, "trainer"),
                      head = join_path(trainer, "value_head.safetensors"),
                      state = join_path(checkpoint, "trainer_state.json");
    std::string moved = "for f in " + trainer + "/*; do mv $f " + checkpoint + "; done";
    if (file_exists(head)) {
        SafetensorsDirectory model(checkpoint);
        model.add(head);
        std::vector<TensorSource> tensors;
        for (auto& [name, tensor] : model.tensors)
            tensors.push_back({name, tensor.shape, DType::f32,
                               [&tensor](int64_t first, int64_t count, float* values) {
                                   read_stored(tensor, first, count, values);
                               }});
        write_safetensors_file(join_path(checkpoint, "both"), tensors);
        moved = "rm " + head + "; mv " + checkpoint + "/both " + checkpoint +
                "/model.safetensors; " + moved;
    }
    ASSERT_EQ(std::system((moved + "; rmdir " + trainer).c_str()), 0);
    Json json = read_json(state), files = Json::object();
    for (auto& [name, sum] : json["files"].items())
        if (!contains(name, "value_head") && name != "model.safetensors")
            files[name.starts_with("trainer/") ? name.substr(8) : name] = sum;
    json["files"] = files;
    write_file(state, json.dump());
}
} // namespace

// Loaders of other programs read every *.safetensors of a model's directory.
TEST(RlCheckpoint, HoldsTheModelsTensorsAndBelowTrainerWhatItsTrainerNeeds) {
    Scratch scratch;
    make_start(scratch("start"));
    std::set<std::string> of_a_policy;
    for (auto& [name, tensor] : SafetensorsDirectory(scratch("start/checkpoints/000001")).tensors)
        of_a_policy.insert(name);
    for (const std::string more : {"critic.shared=false", "critic.shared=true"}) {
        const std::string checkpoint = scratch(more) + "/checkpoints/000002";
        Outcome outcome = ppo_run(scratch("start"), scratch(more), "train.steps=2", more);
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        for (const std::string& name : list_directory(checkpoint))
            EXPECT_TRUE(!name.ends_with(".safetensors") || name == "model.safetensors") << name;
        std::set<std::string> names;
        for (auto& [name, tensor] : SafetensorsDirectory(checkpoint).tensors) names.insert(name);
        EXPECT_EQ(names, of_a_policy); // no value head among them
        const bool shared = more == "critic.shared=true";
        EXPECT_EQ(list_directory(join_path(checkpoint, "trainer")),
                  shared
                      ? (std::vector<std::string>{"trainer.safetensors", "value_head.safetensors"})
                      : (std::vector<std::string>{"critic", "critic_trainer.safetensors",
                                                  "trainer.safetensors"}));
    }
}

TEST(RlCheckpoint, OfTheOlderFormGoesOnToTheSameWeights) {
    Scratch scratch;
    make_start(scratch("start"));
    for (const std::string more : {"critic.shared=false", "critic.shared=true"}) {
        std::string weights[2];
        for (bool older : {false, true}) {
            const std::string run = scratch(more + (older ? "older" : "newer"));
            ASSERT_EQ(ppo_run(scratch("start"), run, "train.steps=2", more).status, 0);
            if (older) to_older_form(run + "/checkpoints/000002");
            Outcome outcome = ppo_run(scratch("start"), run, "train.steps=4", more);
            ASSERT_EQ(outcome.status, 0) << outcome.err;
            EXPECT_TRUE(contains(outcome.err, "000002")) << outcome.err; // it did not begin anew
            weights[older] = read_file(run + "/checkpoints/000004/model.safetensors");
        }
        EXPECT_EQ(weights[0], weights[1]) << more;
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
    for (auto& [name, value] : once.items()) {
        std::vector<std::string> names = {name};
        if (value.is_object()) names.clear();
        if (value.is_object())
            for (auto& [part, unused] : value.items()) names.push_back(name + "." + part);
        for (const std::string& known : names)
            EXPECT_TRUE(find_metric("rl", known)) << known << " is not in the table of metrics";
    }
    EXPECT_EQ(last_row("twice", {"train.epochs=2"})["recorded_tokens"], 0);
    EXPECT_EQ(last_row("small", {"train.tokens_per_micro_batch=40"})["recorded_tokens"], 0);
}

// Rows, references, reward models and critics that changed under their names are no longer what the run began
// with; those that the run does not read may change, and runs of before there were such hashes go on.
TEST(RlResume, RefusesOtherRowsAndOtherModels) {
    Scratch scratch;
    make_start(scratch("start"));
    auto copy = [&](const char* name) {
        std::filesystem::copy(scratch("start/checkpoints/000001"), scratch(name));
        return scratch(name);
    };
    const std::string policy = copy("policy"), reference = copy("reference"), judge = copy("judge"),
                      critic = copy("critic");
    auto write_rows = [&](const char* name, int answer, int last_id = 2) {
        std::string text;
        for (int i = 0; i < 8; ++i)
            text += dump_row({{"prompt_ids", {i + 1, last_id}}, {"answer", answer + i}}) + "\n";
        write_file(scratch(name), text);
    };
    write_rows("rows.jsonl", 0), write_rows("held_out.jsonl", 0, 3);
    auto with_steps = [&](const std::string& run, int steps, const char* preset) {
        return rlhf(
            {"rl", "task.name=jsonl", "task.data=" + scratch("rows.jsonl"),
             "task.eval_data=" + scratch("held_out.jsonl"), "model.path=" + policy,
             "algo.preset=" + std::string(preset), "algo.kl=k3", "algo.kl_coef=0.1",
             "reference=" + reference,
             preset == std::string("ppo") ? "critic.path=" + critic : "critic.path=",
             R"(credit=[{"source": "rule"}, {"source": "dpo_rm", "to": "reward", "pool": "sum",
                        "model": ")" +
                 judge + R"(", "reference": ")" + judge + R"("}])",
             "sample.n=2", "sample.max_new_tokens=4", "train.prompts_per_step=2",
             "train.eval_problems=4", "run.resume=true", "run.dir=" + scratch(run),
             "train.steps=" + std::to_string(steps)});
    };
    auto changed = [&](const std::string& file, const std::string& key) {
        const std::string before = read_file(file);
        std::string after = before;
        after[after.size() - 2] ^= 1;
        write_file(file, after);
        Outcome outcome = with_steps("ppo", 3, "ppo");
        expect_refusal(outcome, {(key + "=").c_str(), "ppo/checkpoints/000002", "run.dir"});
        write_file(file, before);
    };
    Outcome first = with_steps("ppo", 2, "ppo");
    ASSERT_EQ(first.status, 0) << first.err;
    changed(scratch("rows.jsonl"), "task.data");
    changed(scratch("held_out.jsonl"), "task.eval_data");
    changed(reference + "/model.safetensors", "reference");
    changed(critic + "/model.safetensors", "critic.path");
    changed(judge + "/model.safetensors", "credit[1].model");
    changed(judge + "/tokenizer_config.json", "credit[1].model");
    write_file(policy + "/generation_config.json", "{}"); // the policy comes from the checkpoint
    Outcome more = with_steps("ppo", 3, "ppo");
    EXPECT_EQ(more.status, 0) << more.err;

    // as written before checkpoints had hashes
    const std::string state = scratch("ppo/checkpoints/000003/trainer_state.json");
    Json old = read_json(state);
    ASSERT_TRUE(old.contains("inputs"));
    old.erase("inputs");
    write_file(state, old.dump());
    write_rows("rows.jsonl", 5);
    more = with_steps("ppo", 4, "ppo");
    EXPECT_EQ(more.status, 0) << more.err;
    write_rows("rows.jsonl", 6);
    expect_refusal(with_steps("ppo", 5, "ppo"), {"task.data"});
}
