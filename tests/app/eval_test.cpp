// rlhf eval as a user runs it, on a very small model of one-bit sums.

#include "command.h"
#include "task/metrics.h"
#include "task/task.h"

static const Words one_bit = {"task.name=arithmetic", "task.arithmetic.base=2",
                              "task.arithmetic.digits=1", "task.arithmetic.steps_max=2",
                              "compute.threads=1"};

static Words with(Words words, const Words& more) {
    words.insert(words.end(), one_bit.begin(), one_bit.end());
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

static std::string train(const Scratch& at, int steps) {
    Outcome outcome = rlhf(
        with({"sft"}, {"tiny.layers=1", "tiny.width=16", "tiny.heads=2", "tiny.feed_forward=24",
                       "train.rows_per_step=16", "train.steps=" + std::to_string(steps),
                       "data.eval_rows=1", "optim.lr=0.01", "run.dir=" + at("run")}));
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return "model.path=" + at("run");
}

static const Words ask = {"problems=7", "sample.n=4", "sample.max_new_tokens=9"};

TEST(Eval, ResultAgreesWithTheRowsAndTheRowsWithTheRule) {
    Scratch at;
    std::string model = train(at, 40);
    Words words = with({"eval", model, "format=json", "out=" + at("rows.jsonl")}, ask);
    Outcome outcome = rlhf(words);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = parse_json(outcome.out, "standard output");
    std::vector<Json> rows = rows_of(at("rows.jsonl"));
    ASSERT_EQ(rows.size(), 28u);

    TaskConfig config;
    config.name = "arithmetic";
    config.arithmetic.base = 2, config.arithmetic.digits = 1, config.arithmetic.steps_max = 2;
    Task task = make_task(config);
    std::vector<double> pass1(7), pass2(7);
    std::vector<int> right(7);
    for (int i = 0; i < 28; ++i) {
        EXPECT_EQ(rows[i]["prompt_id"], i / 4);
        EXPECT_EQ(rows[i]["sample"], i % 4);
        Problem problem = task.problem(Split::eval, i / 4);
        EXPECT_EQ(json_ids(rows[i], "prompt_ids", "row"), problem.prompt_ids);
        auto ids = json_ids(rows[i], "completion_ids", "row");
        EXPECT_EQ(task.verify(problem, ids, "").reward, rows[i]["reward"]);
        EXPECT_EQ(rows[i]["finish"], ids.back() == arithmetic::eos ? "stop" : "length");
        EXPECT_EQ(rows[i]["logp"].size(), ids.size());
        EXPECT_EQ(rows[i]["text"], arithmetic::text(ids, false));
        right[i / 4] += rows[i]["reward"] == 1;
    }
    for (int p = 0; p < 7; ++p) pass1[p] = right[p] / 4., pass2[p] = pass_at_k(4, right[p], 2);
    Estimate one = mean_over_prompts(pass1, 4), two = mean_over_prompts(pass2, 4);
    EXPECT_GT(one.value, 0); // some are right, so there is something to compare
    EXPECT_LT(one.value, 1);
    EXPECT_NEAR(result["pass@1"]["value"].get<double>(), one.value, 1e-12);
    EXPECT_NEAR(result["pass@1"]["low"].get<double>(), one.low, 1e-12);
    EXPECT_NEAR(result["pass@2"]["high"].get<double>(), two.high, 1e-12);
    EXPECT_TRUE(result.contains("maj@4") && !result.contains("maj@1"));
    EXPECT_EQ(rlhf(words).out, outcome.out);
}

TEST(Eval, FailsOutsideOfItsBounds) {
    Scratch at;
    std::string model = train(at, 40);
    Outcome free = rlhf(with({"eval", model, "format=json"}, ask));
    const double pass = parse_json(free.out, "standard output")["pass@1"]["value"];
    ASSERT_GT(pass, 0.1);
    ASSERT_LT(pass, 0.9);
    auto bounded = [&](const char* key, double bound) {
        return rlhf(with({"eval", model, "format=json", format("%s=%.17g", key, bound)}, ask));
    };
    for (const char* key : {"at_least", "at_most"}) EXPECT_EQ(bounded(key, pass).status, 0) << key;
    Outcome low = bounded("at_least", pass + 0.01), high = bounded("at_most", pass - 0.01);
    EXPECT_EQ(low.status, 1);
    EXPECT_EQ(low.out, free.out); // what was found is told all the same
    EXPECT_TRUE(contains(low.err, format("is %.4f, and has to be at least", pass))) << low.err;
    EXPECT_EQ(high.status, 1);
    EXPECT_TRUE(contains(high.err, format("is %.4f, and has to be at most", pass))) << high.err;
}

TEST(Eval, RowsOnStandardOutputStandAlone) {
    Scratch at;
    std::string model = train(at, 1);
    Outcome outcome = rlhf(with({"eval", model, "out=-"}, ask));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 28);
    EXPECT_EQ(outcome.out[0], '{');
    EXPECT_TRUE(contains(outcome.err, "pass@1"));
}

TEST(Eval, RowsOfAFileAreAskedAndTheirOtherKeysTravel) {
    Scratch at;
    std::string model = train(at, 1);
    write_file(at("tasks.jsonl"),
               "{\"prompt\": \"+1>0\", \"answer\": 1, \"id\": \"first\"}\n"
               "{\"prompt_ids\": [14, 10, 1, 12, 1], \"answer\": 0, \"id\": 2}\n");
    Outcome outcome =
        rlhf({"eval", model, "task.name=jsonl", "task.data=" + at("tasks.jsonl"),
              "sample.max_new_tokens=4", "out=" + at("rows.jsonl"), "compute.threads=1"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    std::vector<Json> rows = rows_of(at("rows.jsonl"));
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_EQ(rows[0]["id"], "first");
    EXPECT_EQ(rows[1]["id"], 2);
    EXPECT_EQ(json_ids(rows[0], "prompt_ids", "row"), (std::vector<int32_t>{14, 10, 1, 12, 0}));
    EXPECT_TRUE(contains(outcome.out, "prompts          2"));
}

TEST(Eval, MistakesAreNamed) {
    Scratch at;
    std::string model = train(at, 1);
    expect_refusal(rlhf({"eval", model}), {"task.name"});
    expect_refusal(rlhf({"eval", model, "task.name=gsm8k"}), {"task.data"});
    expect_refusal(rlhf({"eval", "task.name=arithmetic"}), {"model.path"});
    expect_refusal(rlhf(with({"eval", model}, {"task.arithmetic.steps_max=64",
                                               "task.arithmetic.digits=9", "problems=9"})),
                   {"context"});
}
