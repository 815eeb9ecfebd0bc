// The road of WISE as a user runs it: data, pre-training, fine-tuning, evaluation, RL, report. The models
// learn next to nothing in so few steps; what is checked is that everything fits together.

#include "command.h"

#include <algorithm>

namespace {

const Words small = {"tiny.layers=1",        "tiny.width=16",    "tiny.heads=2",
                     "tiny.feed_forward=16", "tiny.context=400", "train.rows_per_step=4",
                     "train.eval_every=0",   "data.eval_rows=4", "compute.threads=1",
                     "run.save_every=2",     "optim.lr=1e-2"};

Words words(Words first, const Words& more) {
    first.insert(first.end(), more.begin(), more.end());
    return first;
}

std::string run(const Words& command) {
    const Outcome outcome = rlhf(command);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.out;
}

std::string weights(const std::string& run_directory, const char* step) {
    return read_file(run_directory + "/checkpoints/" + step + "/model.safetensors");
}

} // namespace

TEST(WiseCommands, PretrainingAndFinetuningResumeToTheSameBytes) {
    Scratch at;
    auto pretrain = [&](const std::string& dir, const char* steps, const char* resume) {
        run(words({"sft", "task.name=mini_wise", "task.form=heads", "train.objective=wise",
                   "task.mini_wise.part=qa+chat+triples+reading", "run.dir=" + at(dir),
                   std::string("train.steps=") + steps, std::string("run.resume=") + resume},
                  small));
    };
    pretrain("whole", "4", "false");
    pretrain("parts", "2", "false");
    pretrain("parts", "4", "true");
    EXPECT_EQ(weights(at("whole"), "000004"), weights(at("parts"), "000004"));
    auto finetune = [&](const std::string& dir, const char* steps, const char* resume) {
        run(words({"sft", "task.name=mini_wise", "task.form=heads", "train.objective=wise",
                   "model.path=" + at("whole"), "run.dir=" + at(dir), "task.mini_wise.turns=12",
                   "wise.freeze_trunk_steps=3", std::string("train.steps=") + steps,
                   std::string("run.resume=") + resume, "wise.eval_turns=8"},
                  small));
    };
    finetune("tuned", "4", "false");
    finetune("tuned_parts", "2", "false");
    const std::string frozen = weights(at("tuned_parts"), "000002");
    finetune("tuned_parts", "4", "true");
    EXPECT_EQ(weights(at("tuned"), "000004"), weights(at("tuned_parts"), "000004"));
    const Json line = rows_of(at("tuned") + "/metrics.jsonl").back();
    for (const char* name :
         {"loss", "loss_id", "loss_rg", "eval_loss_ps", "eval_loss", "eval_success", "eval_ps_f1"})
        EXPECT_TRUE(line.contains(name)) << name;
    // Frozen: nothing but the heads has moved.
    const std::string start = weights(at("whole"), "000004");
    ASSERT_EQ(start.size(), frozen.size());
    size_t differing = 0;
    for (size_t i = 0; i < start.size(); ++i) differing += start[i] != frozen[i];
    EXPECT_GT(differing, 0u);
    EXPECT_LE(differing, 38u * 16 * 4);

    const Json result =
        parse_json(run({"eval", "task.name=mini_wise", "task.form=heads",
                        "model.path=" + at("tuned"), "problems=12", "sample.temperature=0",
                        "format=json", "out=" + at("p.jsonl"), "wise.oracle=[\"ps\",\"ap\"]"}),
                   "standard output");
    EXPECT_EQ(result["turns"], 12);
    EXPECT_EQ(result["ps"]["f1"], 1);
    EXPECT_EQ(result["ap"]["f1"], 1);
    EXPECT_EQ(rows_of(at("p.jsonl")).size(), 12u);
    // The file says the same without the network.
    Json again = parse_json(run({"eval", "predictions=" + at("p.jsonl"), "format=json"}), "out");
    again["unreadable"] = 0.0;
    EXPECT_EQ(again, result);

    run({"report", at("tuned"), "predictions=" + at("p.jsonl")});
    const std::string page = read_file(at("tuned") + "/report.html");
    for (const char* part : {"Conversational search", "Intents", "Actions", "Clarify-Choice",
                             "Conversation 300000000"})
        EXPECT_NE(page.find(part), std::string::npos) << part;
}

TEST(WiseCommands, ATurnAsTextIsTrainedEvaluatedAndRewardedByField) {
    Scratch at;
    run({"wise-data", "out=" + at("data"), "turns.train=16", "turns.valid=8", "turns.testseen=8",
         "turns.testunseen=8", "turns.qa=0", "turns.chat=0", "turns.triples=0", "turns.reading=0"});
    const Words files = {"task.name=wise", "task.documents=" + at("data/document_line.json"),
                         "wise.order=oldest_first"};
    run(words(words({"sft", "run.dir=" + at("run"), "train.steps=2",
                     "task.conversations=" + at("data/train.jsonl"),
                     "task.eval_conversations=" + at("data/valid.jsonl"), "wise.candidates=search"},
                    files),
              small));
    for (const char* how : {"file", "search"}) {
        const Json result = parse_json(
            run(words({"eval", "model.path=" + at("run"), "sample.temperature=0",
                       "sample.max_new_tokens=8", "format=json",
                       "task.conversations=" + at("data/testseen.jsonl"),
                       std::string("wise.candidates=") + how, "wise.oracle=[\"ke\",\"ps\"]"},
                      files)),
            how);
        EXPECT_EQ(result["turns"], 8);
    }
    // What the wizard is given stands in the text, in its place.
    run(words({"eval", "model.path=" + at("run"), "sample.temperature=0", "sample.max_new_tokens=2",
               "task.conversations=" + at("data/testseen.jsonl"), "out=" + at("p.jsonl"),
               "wise.oracle=[\"id\",\"ke\",\"ap\",\"qs\",\"ps\"]"},
              files));
    for (const Json& row : rows_of(at("p.jsonl")))
        for (const char* field : {"intent", "keyphrases", "action", "queries", "passages"})
            EXPECT_EQ(row["predicted"][field], row["gold"][field]) << field;

    run({"rl", "task.name=mini_wise", "model.path=" + at("run"), "run.dir=" + at("rl"),
         "train.steps=1", "train.prompts_per_step=2", "sample.n=2", "sample.max_new_tokens=8",
         "train.eval_problems=4", "credit=[{\"source\": \"fields\"}]",
         "algo.advantage.segment_pool=per_index", "compute.threads=1"});
    for (const Json& row : rows_of(at("rl/rollouts/000001.jsonl")))
        EXPECT_TRUE(row["scores"]["fields"].contains("end"));
}

TEST(WiseCommands, MisfitsAreRefused) {
    Scratch at;
    int tries = 0;
    auto sft = [&](const Words& more) {
        const std::string directory = at(more.empty() ? "run" : "try" + std::to_string(++tries));
        return rlhf(words(
            words({"sft", "task.name=mini_wise", "run.dir=" + directory, "train.steps=1"}, more),
            small));
    };
    expect_refusal(sft({"task.form=heads"}), {"train.objective=wise"});
    expect_refusal(sft({"task.form=heads", "train.objective=wise", "wise.freeze_trunk_steps=1",
                        "optim.weight_decay=0.1"}),
                   {"weight_decay"});
    expect_refusal(sft({"task.mini_wise.part=qa+nonsense"}), {"nonsense", "triples"});
    expect_refusal(
        rlhf({"sft", "train.objective=wise", "task.name=arithmetic", "run.dir=" + at("r")}),
        {"train.objective=wise", "arithmetic"});
    expect_refusal(rlhf({"sft", "task.name=wise", "run.dir=" + at("r2")}), {"task.documents"});
    expect_refusal(rlhf({"wise-data"}), {"out"});
    // Heads on a model that has none.
    EXPECT_EQ(sft({}).status, 0);
    expect_refusal(rlhf({"eval", "task.name=mini_wise", "task.form=heads",
                         "model.path=" + at("run"), "problems=1"}),
                   {"row heads"});
    expect_refusal(rlhf({"eval", "task.name=mini_wise", "model.path=" + at("run"), "problems=1",
                         "wise.oracle=[\"rg\"]"}),
                   {"wise.oracle", "rg"});
    expect_refusal(rlhf({"rl", "task.name=mini_wise", "model.path=" + at("run"),
                         "run.dir=" + at("x"), "wise.candidates=search"}),
                   {"wise.candidates=search"});
}
