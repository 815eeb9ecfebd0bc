// rlhf pairs, reward and score as a user runs them, on the built-in tiny model and one-digit binary sums.

#include "command.h"

namespace {

const Words task = {"task.name=arithmetic", "task.arithmetic.steps_max=2", "task.arithmetic.base=2",
                    "task.arithmetic.digits=1", "compute.threads=1"};

Words with(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

std::string make_policy(const Scratch& at, const Words& more = {}) {
    Words words = {"sft",           "tiny.layers=1",          "tiny.width=16",
                   "tiny.heads=2",  "tiny.feed_forward=24",   "train.steps=120",
                   "optim.lr=0.01", "run.dir=" + at("policy")};
    Outcome outcome = rlhf(with(with(words, task), more));
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return at("policy");
}

Outcome make_pairs(const Scratch& at, const Words& more = {}) {
    Words words = {"pairs",
                   "model.path=" + at("policy"),
                   "pairs.prompts=200",
                   "pairs.eval_prompts=60",
                   "sample.max_new_tokens=8",
                   "out=" + at("pairs/train.jsonl"),
                   "eval_out=" + at("pairs/eval.jsonl")};
    return rlhf(with(with(words, task), more));
}

Words train(const Scratch& at, const std::string& run, const Words& more) {
    return with({"reward", "model.path=" + at("policy"), "data.train=" + at("pairs/train.jsonl"),
                 "train.steps=12", "train.rows_per_step=8", "optim.lr=0.003", "compute.threads=1",
                 "run.dir=" + at(run)},
                more);
}

Outcome score(const Scratch& at, const std::string& model, const std::string& rows,
              const Words& more = {}) {
    return rlhf(with({"score", "model.path=" + model, "data.path=" + rows,
                      "out=" + at("scores.jsonl"), "format=json", "compute.threads=1"},
                     more));
}

Json report_of(const Outcome& outcome) { // the last line of standard error
    std::string text = outcome.err;
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return parse_json(text.substr(text.rfind('\n') + 1), "report");
}

std::string last_weights(const std::string& run) {
    return read_file(run + "/checkpoints/000012/model.safetensors");
}

struct Kind {
    const char* name;
    Words words;
    bool reference;
    const char* architecture;
};
std::vector<Kind> all_kinds() {
    return {{"orm", {"reward.kind=orm"}, false, "LlamaForSequenceClassification"},
            {"point", {"reward.kind=orm_pointwise"}, false, "LlamaForSequenceClassification"},
            {"prm", with({"reward.kind=prm"}, task), false, "LlamaForTokenClassification"},
            {"pgtg", {"reward.kind=pgtg"}, false, "LlamaForTokenClassification"},
            {"qrm", {"reward.kind=qrm"}, false, "LlamaForTokenClassification"},
            {"logit", {"reward.kind=qrm", "reward.head=logit"}, false, "LlamaForCausalLM"},
            {"soft", {"reward.kind=qrm", "reward.head=log_softmax"}, false, "LlamaForCausalLM"},
            {"dpo", {"reward.kind=dpo_rm"}, true, "LlamaForCausalLM"},
            {"implicit", {"reward.kind=implicit_prm"}, true, "LlamaForCausalLM"}};
}

} // namespace

TEST(Pairs, AreRightAnswersAgainstWrongOnesOfMixedPrompts) {
    Scratch at;
    make_policy(at);
    Outcome outcome = make_pairs(at);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    std::vector<Json> rows = rows_of(at("pairs/train.jsonl"));
    EXPECT_TRUE(contains(
        outcome.out, format("%zu pairs from %zu mixed prompts of 200", rows.size(), rows.size())))
        << outcome.out;
    EXPECT_GT(rows.size(), 20u);
    // the task's own verdict, through score
    ASSERT_EQ(score(at, at("policy"), at("pairs/train.jsonl"), task).status, 0);
    std::vector<Json> scored = rows_of(at("scores.jsonl"));
    ASSERT_EQ(scored.size(), rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
        EXPECT_EQ(scored[i]["chosen_right"], true);
        EXPECT_EQ(scored[i]["rejected_right"], false);
        EXPECT_EQ(scored[i]["chosen_ids"], rows[i]["chosen_ids"]);
        EXPECT_EQ(scored[i]["prompt_id"], rows[i]["prompt_id"]);
        for (const char* side : {"chosen", "rejected"})
            EXPECT_EQ(scored[i][std::string(side) + "_token_score"].size(),
                      rows[i][std::string(side) + "_ids"].size());
    }
    // the same bytes again, whatever is in flight together; more pairs when more are asked for
    std::string before = read_file(at("pairs/train.jsonl"));
    ASSERT_EQ(make_pairs(at, {"sample.batch=7"}).status, 0);
    EXPECT_EQ(read_file(at("pairs/train.jsonl")), before);
    ASSERT_EQ(make_pairs(at, {"pairs.per_prompt=4"}).status, 0);
    EXPECT_GT(rows_of(at("pairs/train.jsonl")).size(), rows.size());
    expect_refusal(make_pairs(at, {"sample.temperature=0"}), {"sample.temperature"});
    expect_refusal(make_pairs(at, {"sample.n=1"}), {"sample.n"});
    expect_refusal(make_pairs(at, {"sample.max_new_tokens=1"}), {"no prompt of 200"});
}

TEST(Reward, EveryKindTrainsResumesWithTheSameBytesAndScores) {
    Scratch at;
    make_policy(at);
    ASSERT_EQ(make_pairs(at).status, 0);
    for (const Kind& kind : all_kinds()) {
        SCOPED_TRACE(kind.name);
        Words words = train(at, kind.name,
                            with(kind.words, {"data.eval=" + at("pairs/eval.jsonl"),
                                              "run.save_every=5", "train.eval_every=6"}));
        Outcome outcome = rlhf(words);
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        const std::string run = at(kind.name);
        std::vector<Json> metrics = rows_of(run + "/metrics.jsonl");
        ASSERT_EQ(metrics.size(), 12u);
        for (const char* key : {"loss", "grad_norm", "train_pair_accuracy", "eval_loss",
                                "eval_pair_accuracy", "eval_score_gap", "eval_score_std"})
            EXPECT_TRUE(metrics[11].contains(key)) << key;
        Json config = read_json(run + "/checkpoints/000012/config.json");
        EXPECT_EQ(config["architectures"][0], kind.architecture);

        // As if the process had died after step 5: what it leaves is what was there then.
        std::string whole = last_weights(run);
        remove_tree(run + "/checkpoints/000012"), remove_tree(run + "/checkpoints/000010");
        Words half = train(at, std::string(kind.name) + "2",
                           with(kind.words, {"data.eval=" + at("pairs/eval.jsonl"), "run.keep=9",
                                             "run.save_every=5", "train.eval_every=6"}));
        ASSERT_EQ(rlhf(half).status, 0);
        const std::string again = run + "2";
        EXPECT_EQ(last_weights(again), whole) << "the same run twice";
        remove_tree(again + "/checkpoints/000012"), remove_tree(again + "/checkpoints/000010");
        outcome = rlhf(with(half, {"run.resume=true"}));
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        EXPECT_TRUE(contains(outcome.err, "continuing from")) << outcome.err;
        EXPECT_EQ(last_weights(again), whole) << "resumed";
        std::vector<Json> resumed = rows_of(again + "/metrics.jsonl");
        ASSERT_EQ(resumed.size(), 12u);
        EXPECT_EQ(resumed[11]["eval_loss"], metrics[11]["eval_loss"]);

        Words reference;
        if (kind.reference) {
            expect_refusal(score(at, again, at("pairs/eval.jsonl")), {"reference"});
            reference = {"reference=" + at("policy")};
        }
        outcome = score(at, again, at("pairs/eval.jsonl"), reference);
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        Json report = report_of(outcome);
        EXPECT_EQ(report["pairs"], rows_of(at("pairs/eval.jsonl")).size());
        // The PRM's training reads step ends alone.
        if (std::string(kind.name) != "prm") {
            EXPECT_NEAR(report["pair_accuracy"].get<double>(),
                        metrics[11]["eval_pair_accuracy"].get<double>(), 1e-9);
            EXPECT_NEAR(report["gap_mean"].get<double>(),
                        metrics[11]["eval_score_gap"].get<double>(), 1e-5);
        }
    }
}

// More weights than the policy, from another start.
TEST(Reward, AnyBackboneOfTheSameVocabulary) {
    Scratch at;
    make_policy(at);
    ASSERT_EQ(make_pairs(at).status, 0);
    ASSERT_EQ(rlhf(with({"sft", "train.steps=2", "run.dir=" + at("large")}, task)).status, 0);
    Words words = train(
        at, "qrm", {"reward.kind=qrm", "reward.head=log_softmax", "model.path=" + at("large")});
    EXPECT_EQ(rlhf(words).status, 0);
    // micro-batches do not change the step
    std::vector<Json> wanted;
    for (const char* budget : {"4096", "60", "1"}) {
        const std::string run = std::string("cut") + budget;
        ASSERT_EQ(rlhf(train(at, run,
                             {"reward.kind=qrm", "compute.dtype=f64",
                              std::string("train.tokens_per_micro_batch=") + budget}))
                      .status,
                  0);
        std::vector<Json> found = rows_of(at(run + "/metrics.jsonl"));
        if (wanted.empty()) wanted = found;
        for (size_t i = 0; i < wanted.size(); ++i)
            EXPECT_NEAR(found[i]["grad_norm"].get<double>(), wanted[i]["grad_norm"].get<double>(),
                        1e-9);
    }
}

TEST(Reward, EveryFormOfRow) {
    Scratch at;
    std::string policy = make_policy(at);
    auto trained = [&](const char* kind, const std::string& row, int tokens,
                       const Words& more = {}) {
        write_file(at("rows.jsonl"), row + "\n");
        remove_tree(at("run"));
        Outcome outcome =
            rlhf(train(at, "run",
                       with({std::string("reward.kind=") + kind, "data.train=" + at("rows.jsonl"),
                             "train.steps=1", "train.rows_per_step=1"},
                            more)));
        EXPECT_EQ(outcome.status, 0) << row << outcome.err;
        if (outcome.status == 0) {
            EXPECT_EQ(rows_of(at("run/metrics.jsonl"))[0]["trained_tokens"], tokens) << row;
        }
        return outcome;
    };
    trained("qrm", R"({"prompt": "+0>1", "chosen": "+01", "rejected": "+0"})", 4 + 3);
    trained("qrm", R"({"instruction": "+0>1", "chosen": ["+01", "+1"], "rejected": "+0"})", 4 + 3);
    trained("qrm", R"({"prompt": "+0>1", "chosen": "+01", "rejected": "+0"})", 3 + 2,
            {"data.add_eos=false"});
    trained("qrm",
            R"({"prompt_ids": [14, 10], "prompt": "x", "chosen_ids": [0], "rejected_ids": [1, 2]})",
            3);
    trained("orm", R"({"prompt": "+0>1", "chosen": "+01", "rejected": "+0"})", 2);
    trained("orm_pointwise", R"({"prompt": "+0>1", "completion": "+01", "label": 1})", 1);
    trained("implicit_prm", R"({"prompt_ids": [14], "completion_ids": [0, 1], "reward": 0.0})", 2);
    trained(
        "prm",
        R"({"prompt": "+0>1", "completion_ids": [10, 0, 1, 13], "steps": [{"end": 3, "label": 1}, {"end": 4, "label": 0}]})",
        2);
    trained(
        "prm",
        R"({"prompt": "+0>1", "steps": [{"text": "+01", "label": 1}, {"text": "+11", "label": -1}]})",
        2);
    trained("prm", R"({"prompt": "+0>1", "chosen": "+01", "rejected": "+00"})", 2 + 2, task);
    // A prompt of 5 tokens fills a window of 5; answers of 4 and 3 tokens are cut at 8.
    const std::string pair = R"({"prompt": "+0>1", "chosen": "+01", "rejected": "+0"})";
    Outcome outcome =
        trained("qrm", pair + "\n" + R"({"prompt": "+0>1+0>1", "chosen": "+01", "rejected": "+0"})",
                3 + 3, {"data.window=8"});
    EXPECT_TRUE(contains(outcome.err, "1 rows whose prompt fills the window of 8 tokens"))
        << outcome.err;
    EXPECT_TRUE(contains(outcome.err, "1 answers were cut")) << outcome.err;
}

TEST(Reward, BadInputIsRefusedAndLeavesNothingBehind) {
    Scratch at;
    std::string policy = make_policy(at);
    const std::string good = R"({"prompt": "+0>1", "chosen": "+01", "rejected": "+00"})";
    auto refused = [&](const char* kind, const std::string& rows,
                       std::initializer_list<const char*> parts, const Words& more = {}) {
        write_file(at("rows.jsonl"), rows + "\n");
        Outcome outcome = rlhf(train(
            at, "run",
            with({std::string("reward.kind=") + kind, "data.train=" + at("rows.jsonl")}, more)));
        expect_refusal(outcome, parts);
        EXPECT_FALSE(file_exists(at("run"))) << "a failed start must not block the next one";
    };
    refused("qrm", good + "\n" + R"({"prompt": "+0>1", "chosen": "+01", "rejected": "+01"})",
            {"rows.jsonl:2", "the same"});
    refused("qrm", R"({"prompt": "+0>1", "chosen": "", "rejected": "+01"})",
            {"rows.jsonl:1", "\"chosen\" is empty"});
    refused("qrm", R"({"prompt": "+0>1", "chosen": "+", "rejected_ids": []})",
            {"rows.jsonl:1", "\"rejected\" is empty"});
    refused("qrm", R"({"prompt": "+0>1", "chosen": "+01"})", {"rows.jsonl:1", "\"rejected\""});
    refused("qrm", R"({"chosen": "+01", "rejected": "+00"})", {"rows.jsonl:1", "\"prompt\""});
    refused("qrm", R"({"prompt_ids": [14, 16], "chosen_ids": [1], "rejected_ids": [2]})",
            {"rows.jsonl:1", "16", "vocabulary"});
    refused("qrm", R"({"prompt": "+0>1", "completion": "+01", "label": 1})",
            {"rows.jsonl:1", "needs pairs"});
    refused("qrm", good + "\n" + R"({"prompt": "+0>1", "completion": "+01", "label": 1})",
            {"rows.jsonl:2", "pairs"});
    refused("qrm", good, {"fills the window of 4"}, {"data.window=4"});
    refused("orm_pointwise", R"({"prompt": "+0>1", "completion": "+01", "label": 2})",
            {"rows.jsonl:1", "label", "2"});
    refused("orm_pointwise", R"({"prompt": "+0>1", "completion": "+01"})",
            {"rows.jsonl:1", "\"label\""});
    refused("prm", good, {"rows.jsonl:1", "\"steps\"", "task.name"});
    refused("prm", R"({"prompt": "+0>1", "completion": "+01", "steps": [{"end": 9, "label": 1}]})",
            {"rows.jsonl:1", "ends at 9"});
    refused("prm", R"({"prompt": "+0>1", "completion": "+01", "steps": [{"end": 2, "label": 3}]})",
            {"rows.jsonl:1", "label is 3"});
    refused("nonsense", good, {"reward.kind"});
    refused("orm", good, {"reward.head"}, {"reward.head=logit"});
    refused("qrm", good, {"reward.reference"}, {"reward.reference=" + policy});
    expect_refusal(rlhf({"reward", "reward.kind=qrm", "data.train=x", "run.dir=" + at("run")}),
                   {"model.path"});
    expect_refusal(rlhf({"score", "model.path=" + policy}), {"data.path"});
}

TEST(Reward, HeadsThatDoNotFitAreRefused) {
    Scratch at;
    make_policy(at);
    make_directories(at("pairs"));
    write_file(at("pairs/train.jsonl"), R"({"prompt": "+0>1", "chosen": "+01", "rejected": "+00"})"
                                        "\n");
    ASSERT_EQ(rlhf(train(at, "scalar", {"reward.kind=qrm"})).status, 0);
    expect_refusal(rlhf(train(at, "run", {"reward.kind=dpo_rm", "model.path=" + at("scalar")})),
                   {"scalar head", "language model"});
    // from a reward model with a scalar head to another: its head goes along
    EXPECT_EQ(rlhf(train(at, "pgtg", {"reward.kind=pgtg", "model.path=" + at("scalar")})).status,
              0);
    const std::string directory = at("scalar/checkpoints/000012");
    Json config = read_json(directory + "/config.json");
    config["num_labels"] = 2;
    write_file(directory + "/config.json", config.dump());
    expect_refusal(score(at, directory, at("pairs/train.jsonl")), {"2 labels", "num_labels"});
    config["num_labels"] = 1, config["hidden_size"] = 32, config["head_dim"] = 8;
    write_file(directory + "/config.json", config.dump());
    expect_refusal(score(at, directory, at("pairs/train.jsonl")),
                   {"shape", "config.json asks for"});
}

// Rows of answers as rlhf eval writes them, and planted faults: the figures and their controls.
TEST(Score, BestOfNAndLocalisationOfATasksAnswers) {
    Scratch at;
    std::string policy = make_policy(at, {"train.steps=600"});
    ASSERT_EQ(
        rlhf(with({"eval", "model.path=" + policy, "problems=40", "sample.n=8",
                   "sample.temperature=2", "sample.max_new_tokens=8", "out=" + at("answers.jsonl")},
                  task))
            .status,
        0);
    Outcome outcome = score(at, policy, at("answers.jsonl"), task);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json report = report_of(outcome);
    ASSERT_EQ(report["best_of"].size(), 4u); // 1, 2, 4, 8
    std::vector<Json> answers = rows_of(at("answers.jsonl")), scored = rows_of(at("scores.jsonl"));
    double right = 0, best = 0;
    for (size_t first = 0; first < answers.size(); first += 8) {
        size_t top = first;
        for (size_t i = first; i < first + 8; ++i) {
            EXPECT_EQ(scored[i]["right"], answers[i]["reward"] == 1.0);
            right += answers[i]["reward"].get<double>() / 320;
            if (scored[i]["score"].get<double>() > scored[top]["score"].get<double>()) top = i;
        }
        best += answers[top]["reward"].get<double>() / 40;
    }
    EXPECT_NEAR(report["best_of"][0]["best_of"].get<double>(), right, 1e-12);
    EXPECT_NEAR(report["best_of"][3]["best_of"].get<double>(), best, 0.03); // ties by lot
    EXPECT_TRUE(report["localisation"].contains("control_most_frequent_step"));
    // without a task the rewards of the rows are the verdicts
    Json plain = report_of(score(at, policy, at("answers.jsonl")));
    EXPECT_EQ(plain["best_of"], report["best_of"]);
    EXPECT_FALSE(plain.contains("localisation"));

    // A policy that knows the task gives the planted wrong digit the lowest probability of its answer.
    outcome = rlhf(with({"score", "model.path=" + policy, "task.arithmetic.wrong_digit=0.3",
                         "score.problems=300", "out=" + at("planted.jsonl"), "format=json"},
                        task));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(contains(outcome.err, " is a language model, no reward model")) << outcome.err;
    Json found = report_of(outcome)["localisation"];
    EXPECT_GT(found["wrong_answers"].get<int>(), 80);
    EXPECT_GT(found["lowest_token"].get<double>(), 0.9);
    EXPECT_GT(found["largest_drop"].get<double>(), 0.9);
}

// The vocabulary knows digits alone: of "2π" it keeps the 2. The rule reads what the row says.
TEST(Score, TheRuleReadsAnAnswerAsItIsWritten) {
    Scratch at;
    const std::string policy = make_policy(at, {"train.steps=1"});
    std::string rows;
    for (const char* answer : {"2", "2\u03c0", "7"})
        for (const char* gold : {"2", "2\\pi"})
            rows += dump_row({{"prompt", "1+1="},
                              {"completion", "\\boxed{" + std::string(answer) + "}"},
                              {"answer", gold}}) +
                    "\n";
    write_file(at("rows.jsonl"), rows);
    Outcome outcome =
        score(at, policy, at("rows.jsonl"), {"task.name=jsonl", "task.data=" + at("rows.jsonl")});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    std::vector<bool> right;
    for (const Json& row : rows_of(at("scores.jsonl"))) right.push_back(row["right"].get<bool>());
    EXPECT_EQ(right, (std::vector<bool>{true, false, false, true, false, false}));
}

// Each preference loss on the tiny policy: its pairs are told apart better than before (the task has too
// few prompts for others), and what comes out is an ordinary language model that rl can start from.
TEST(RewardCommand, PreferenceLossesTrainAPolicy) {
    Scratch at;
    make_policy(at);
    Outcome outcome = make_pairs(at);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    for (const std::string kind : {"dpo", "ipo", "kto", "orpo", "cpo", "simpo"}) {
        outcome = rlhf(train(at, kind,
                             {"reward.kind=" + kind, "data.eval=" + at("pairs/train.jsonl"),
                              "optim.lr=0.001", "train.steps=30"}));
        ASSERT_EQ(outcome.status, 0) << kind << outcome.err;
        const Json line = rows_of(at(kind) + "/metrics.jsonl").back();
        const Json first = rows_of(at(kind) + "/metrics.jsonl").front();
        EXPECT_GT(line["eval_score_gap"].get<double>(),
                  first["eval_before_score_gap"].get<double>())
            << kind;
        EXPECT_EQ(line.contains("kl_z0_nats"), kind == "kto");
        const std::string model = at(kind) + "/checkpoints/000030";
        const Json config = read_json(model + "/config.json");
        EXPECT_TRUE(config["architectures"][0].get<std::string>().ends_with("ForCausalLM"));
        EXPECT_FALSE(config.contains("reward_kind")) << kind;
    }
    outcome = rlhf(with({"rl", "model.path=" + at("kto"), "run.dir=" + at("rl"), "sample.n=2",
                         "sample.max_new_tokens=4", "train.steps=1", "train.prompts_per_step=2",
                         "train.eval_problems=2"},
                        task));
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    expect_refusal(rlhf(train(at, "x", {"reward.kind=orpo", "reward.reference=" + at("policy")})),
                   {"orpo", "no reference"});
    expect_refusal(rlhf(train(at, "x", {"reward.kind=kto", "reward.sft_coef=1"})),
                   {"sft_coef", "kto"});
}
