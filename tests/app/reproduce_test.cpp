// rlhf reproduce as a user runs it, and the numbers that it reads off curves.

#include "app/comparison.h"
#include "command.h"
#include "testing.h"

namespace {
// Two arms from one shared start, two seeds.
std::string config_text(const std::string& steps) {
    return R"({"seeds": 2, "jobs": 2, "targets": [0, 2], "also": ["checker_mean"],
      "compare": [["rule", "sft_logp"]],
      "stages": [
        {"name": "start", "shared": true, "run": ["sft", "configs/sft_arithmetic.json", "run.dir={self}",
          "tiny.layers=1", "tiny.width=16", "train.rows_per_step=2", "train.steps=1", "train.goal_loss=0"]},
        {"name": "asked", "figures": ["pass@1.value"], "run": ["eval", "configs/eval_arithmetic.json",
          "model.path={start}", "problems=3", "sample.seed={seed}", "format=json"]}],
      "arms": [
        {"name": "rule", "run": ["rl", "run.dir={self}", "model.path={start}", "task.name=arithmetic",
          "run.seed={seed}", "sample.n=2", "sample.max_new_tokens=4", "train.prompts_per_step=2",
          "train.eval_problems=4", "train.eval_every=1", "train.steps=)" +
           steps + R"("]},
        {"name": "sft_logp", "run": ["rl", "run.dir={self}", "model.path={start}", "task.name=arithmetic",
          "run.seed={seed}", "sample.n=2", "sample.max_new_tokens=4", "train.prompts_per_step=2",
          "train.eval_problems=4", "train.eval_every=1", "train.steps=2", "algo.preset=reinforce_qrm",
          "credit=[{\"source\": \"self\", \"model\": \"{start}\"}]"]}]})";
}
} // namespace

TEST(Reproduce, RunsEachJobOnceAndTellsWhatCameOut) {
    Scratch scratch;
    const std::string config = scratch("config.json"), out = "out=" + scratch("all");
    write_file(config, config_text("2"));
    Outcome first = rlhf({"reproduce", config, out});
    ASSERT_EQ(first.status, 0) << first.err;
    for (const char* part : {"| rule | ", "| sft_logp | ", "pass@1.value", "Paired by seed"})
        EXPECT_TRUE(contains(first.out, part)) << part << " is not in\n" << first.out;
    Json results = read_json(scratch("all") + "/results.json");
    ASSERT_EQ(results["arms"]["rule"].size(), 2u);
    EXPECT_EQ(results["arms"]["rule"][0]["update"], Json({0, 1, 2}));
    EXPECT_TRUE(contains(read_file(scratch("all") + "/results.html"), "<svg"));

    // again: nothing is run
    const std::string log = scratch("all") + "/seed-1/rule.log";
    write_file(log, "untouched");
    ASSERT_EQ(rlhf({"reproduce", config, out}).status, 0);
    EXPECT_EQ(read_file(log), "untouched");

    // another command for what is there
    write_file(config, config_text("3"));
    expect_refusal(rlhf({"reproduce", config, out}),
                   {"another command", "seed-0/rule", "train.steps=3"});
    // one job that was lost is run again, the others stay
    write_file(config, config_text("2"));
    remove_tree(scratch("all") + "/seed-1/rule.done");
    remove_tree(scratch("all") + "/seed-1/rule");
    ASSERT_EQ(rlhf({"reproduce", config, out}).status, 0);
    EXPECT_NE(read_file(log), "untouched");
}

// Of the stages, those that the chosen arms need, and what measures nothing but these.
TEST(Reproduce, OnlySomeArmsWithTheStagesTheyNeed) {
    Scratch scratch;
    Json config = parse_json(config_text("1"), "the test");
    auto eval_of = [](const char* model) {
        return Json{"eval", "configs/eval_arithmetic.json",
                    std::string("model.path={") + model + "}", "problems=3", "format=json"};
    };
    config["stages"].push_back({{"name", "broken"}, {"run", {"sft", "run.dir="}}});
    config["stages"].push_back(
        {{"name", "asked_broken"}, {"figures", {"pass@1.value"}}, {"run", eval_of("broken")}});
    config["arms"][1]["run"].push_back("data.template={broken}");
    config["only"] = {"rule"};
    write_file(scratch("config.json"), config.dump());
    Outcome outcome = rlhf({"reproduce", scratch("config.json"), "out=" + scratch("all")});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(file_exists(scratch("all") + "/seed-1/asked.done"));
    EXPECT_FALSE(file_exists(scratch("all") + "/seed-0/broken.log"));
    EXPECT_FALSE(file_exists(scratch("all") + "/seed-0/asked_broken.log"));
    config["only"] = {"rule", "sft_logp"};
    write_file(scratch("config.json"), config.dump());
    expect_refusal(rlhf({"reproduce", scratch("config.json"), "out=" + scratch("all")}),
                   {"/broken.log"});
}

// A start that is not what the comparison supposes ends it before the arms; an arm that misses its bounds fails
// it when the tables are written.
TEST(Reproduce, BoundsAreKeptOrItFails) {
    Scratch scratch;
    Json config = parse_json(config_text("1"), "the test");
    const std::vector<std::string> run = {"reproduce", scratch("config.json"),
                                          "out=" + scratch("all"), "seeds=1"};
    auto outcome_of = [&](const Json& of_stage, const Json& of_arm) {
        config["stages"][1]["bounds"] = of_stage, config["arms"][0]["bounds"] = of_arm;
        write_file(scratch("config.json"), config.dump());
        return rlhf(run);
    };
    const Json none = Json::object();
    expect_refusal(outcome_of({{"pass@1.value", {0.9, 1}}}, none),
                   {"seed-0/asked: pass@1.value is 0.0000, and has to be from 0.9 to 1"});
    EXPECT_FALSE(file_exists(scratch("all") + "/seed-0/asked.done"));
    expect_refusal(outcome_of({{"no figure", {0, 1}}}, none), {"no figure is nan"});
    expect_refusal(outcome_of({{"pass@1.value", {0, 0.5}}}, {{"end", {0.9, 1}}}),
                   {"seed-0/rule: end is 0.0000, and has to be from 0.9 to 1"});
    EXPECT_TRUE(file_exists(scratch("all") + "/results.md"));
    EXPECT_EQ(outcome_of({{"pass@1.value", {0, 0.5}}}, {{"start", {0, 0}}, {"end", {0, 1}}}).status,
              0);
    for (const Json& bad : {Json{{"middle", {0, 1}}}, Json{{"end", {0}}}, Json{{"end", 1}}})
        EXPECT_EQ(outcome_of(none, bad).status, 1) << bad.dump();
}

TEST(Reproduce, AFailedJobNamesItsLog) {
    Scratch scratch;
    const std::string config = scratch("config.json");
    write_file(config, R"({"seeds": 1, "arms": [{"name": "a", "run": ["rl", "run.dir={self}"]}]})");
    expect_refusal(rlhf({"reproduce", config, "out=" + scratch("all")}),
                   {"seed-0/a.log", "rlhf rl"});
    EXPECT_TRUE(contains(read_file(scratch("all") + "/seed-0/a.log"), "task.name is missing"));
    for (const char* arms :
         {R"([{"name": "a"}])", R"([{"name": "a", "run": ["rl", "{b}"]}])",
          R"([{"name": "a", "run": ["rl"], "wait": 1}])", R"([{"name": "self", "run": ["rl"]}])",
          R"([{"name": "a", "run": ["rl"]}, {"name": "a", "run": ["rl"]}])", "[]"}) {
        write_file(config, R"({"arms": )" + std::string(arms) + "}");
        EXPECT_EQ(rlhf({"reproduce", config, "out=" + scratch("none")}).status, 1) << arms;
    }
}

TEST(Comparison, CurvesAreSmoothedOverThreeEvaluations) {
    Scratch scratch;
    write_file(scratch("metrics.jsonl"), R"({"step": 1, "eval_before_pass@1": 0.1}
{"step": 2, "eval_pass@1": 0.5}
{"step": 4, "eval_pass@1": 0.9}
{"step": 6, "eval_pass@1": 0.4}
)");
    Curve curve = read_curve(scratch.path, "eval_pass@1");
    EXPECT_EQ(curve.update, (std::vector<double>{0, 2, 4, 6}));
    const double smoothed[] = {0.1, 0.3, 0.5, 0.6};
    for (int k = 0; k < 4; ++k) EXPECT_NEAR(curve.smoothed[k], smoothed[k], 1e-15);
    EXPECT_EQ(curve.to(0.49), 4);
    EXPECT_TRUE(std::isnan(curve.to(0.7)));
    EXPECT_THROW(read_curve(scratch.path, "eval_pass@16"), Error);
}

TEST(Comparison, IntervalsAreStudents) {
    Interval x = interval_of({1, 2, 3, NAN}); // s = 1, n = 3, t = 4.303
    EXPECT_EQ(x.mean, 2);
    EXPECT_NEAR(x.high - x.mean, 4.303 / std::sqrt(3.0), 1e-12);
    EXPECT_NEAR(x.mean - x.low, 4.303 / std::sqrt(3.0), 1e-12);
    EXPECT_EQ(interval_of({7}).high, 7);
    EXPECT_TRUE(std::isnan(interval_of({}).mean));
}

TEST(Comparison, FiguresComeFromTheLastObjectOfALog) {
    Scratch scratch;
    write_file(scratch("log"), "words\n{\"a\": {\"b\": 1}}\n{\"a\": {\"b\": 2.5}}\ndone\n");
    EXPECT_EQ(figure_in_log(scratch("log"), "a.b"), 2.5);
    EXPECT_TRUE(std::isnan(figure_in_log(scratch("log"), "a.c")));
    EXPECT_TRUE(std::isnan(figure_in_log(scratch("log"), "a")));
}
