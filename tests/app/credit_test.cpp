// Credit sources inside rl, as a user runs them: on the tiny model, with rules and with a policy's own
// log-probabilities as reward model.

#include "command.h"

namespace {
struct Start : testing::Test {
    Scratch scratch;
    void SetUp() override {
        ASSERT_EQ(rlhf({"sft", "configs/sft_arithmetic.json", "train.goal_loss=0",
                        "run.dir=" + scratch("start"), "tiny.layers=1", "tiny.width=16",
                        "train.rows_per_step=2", "train.steps=1"})
                      .status,
                  0);
    }
    Outcome rl(const std::string& name, std::vector<std::string> more) {
        std::vector<std::string> words = {"rl",
                                          "model.path=" + scratch("start"),
                                          "task.name=arithmetic",
                                          "run.dir=" + scratch(name),
                                          "sample.n=2",
                                          "sample.max_new_tokens=6",
                                          "train.steps=2",
                                          "train.prompts_per_step=2",
                                          "train.eval_problems=2",
                                          "train.eval_samples=3"};
        words.insert(words.end(), more.begin(), more.end());
        return rlhf(words);
    }
    std::vector<Json> rollouts(const std::string& name) {
        return rows_of(scratch(name) + "/rollouts/000001.jsonl");
    }
};
} // namespace

using CreditCommand = Start;

TEST_F(CreditCommand, TokenCreditIsStoredAndIsTheAdvantage) {
    Outcome outcome =
        rl("self", {"algo.preset=reinforce_qrm", R"(credit=[{"source": "self"}, {"source": "rule",
            "weight": 0}])"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    double sum = 0, square = 0, n = 0;
    for (const Json& row : rollouts("self")) {
        EXPECT_EQ(row["scores"]["self"].size(), row["completion_ids"].size());
        EXPECT_EQ(row["credit"], row["advantage"]);
        // the policy itself is still what it was: its log-probabilities are the scores
        for (size_t t = 0; t < row["logp_old"].size(); ++t)
            EXPECT_NEAR(row["scores"]["self"][t].get<double>(), row["logp_old"][t].get<double>(),
                        1e-5);
        for (const Json& c : row["credit"]) {
            double x = c.get<double>();
            sum += x, square += x * x, ++n;
        }
    }
    EXPECT_NEAR(sum / n, 0, 1e-6);
    EXPECT_NEAR(square / n, 1, 1e-6);
    Json line = rows_of(scratch("self") + "/metrics.jsonl").back();
    for (const char* key : {"checker_mean", "score_mean_self", "eval_pass@3", "eval_pass@3_low"})
        EXPECT_TRUE(line.contains(key)) << key;
    outcome = rlhf({"explain", scratch("self"), "colour=self"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(
        contains(read_file(scratch("self") + "/explain.html"), "raw score of the source self"));
    expect_refusal(rlhf({"explain", scratch("self"), "colour=beauty"}), {"beauty", "gradient"});
}

TEST_F(CreditCommand, OracleMarksEveryTokenOfAStep) {
    Outcome outcome = rl("oracle", {"algo.preset=ppo_qrm", R"(credit=[{"source": "oracle"}])"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    for (const Json& row : rollouts("oracle"))
        for (const Json& x : row["scores"]["oracle"]) EXPECT_EQ(std::abs(x.get<double>()), 1);
}

// A model that has not learned to write critiques: its words are counted and kept, and the rule pays
// alone.
TEST_F(CreditCommand, AJudgeThatCannotBeReadIsSaidSoAndTheRulePays) {
    ASSERT_EQ(rlhf({"sft", "configs/sft_arithmetic.json", "train.goal_loss=0",
                    "run.dir=" + scratch("judge"), "tiny.writes_about=arithmetic", "tiny.layers=1",
                    "tiny.width=16", "train.rows_per_step=2", "train.steps=1"})
                  .status,
              0);
    auto run = [&](const std::string& name, const std::string& more) {
        return rl(name, {"algo.preset=capo", "credit=[{\"source\": \"capo\", \"model\": \"" +
                                                 scratch("judge") +
                                                 "\", \"max_new_tokens\": 5, \"critiques\": 2, "
                                                 "\"truncated\": \"judge\", \"template\": "
                                                 "\"configs/critic_arithmetic.jinja\"" +
                                                 more + "}]"});
    };
    Outcome outcome = run("judged", "");
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(contains(outcome.err, "cannot be read on any of")) << outcome.err;
    for (const Json& row : rollouts("judged")) {
        for (const Json& x : row["scores"]["capo"]) EXPECT_EQ(x, 0);
        EXPECT_EQ(row["judges"]["capo"]["critiques"].size(), 2u);
        EXPECT_FALSE(row["judges"]["capo"]["critiques"][0]["why_not"].empty());
    }
    const Json line = rows_of(scratch("judged") + "/metrics.jsonl").back();
    EXPECT_EQ(line["judge_invalid_share_capo"], 1);
    EXPECT_EQ(line["judge_unread_share_capo"], 1);
    EXPECT_EQ(line["judge_clean_share"], 0);
    EXPECT_EQ(line["judge_recall_capo"], 0); // of the wrong steps that the rule sees
    for (const char* key : {"judge_cache_hit_share_capo", "judge_tokens_capo"})
        EXPECT_TRUE(line.contains(key)) << key;
    EXPECT_GT(line["seconds"]["judge"], 0);
    outcome = rlhf({"explain", scratch("judged")});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(contains(read_file(scratch("judged") + "/explain.html"), "capo: wrong steps []"));

    outcome =
        rl("early", {"algo.preset=capo", "sample.n=4", "select.mode=random",
                     "select.keep_samples=[2, 2]", "select.before_judging=true",
                     "credit=[{\"source\": \"capo\", \"model\": \"" + scratch("judge") +
                         "\", \"max_new_tokens\": 5, \"critiques\": 2, \"truncated\": \"judge\", "
                         "\"template\": \"configs/critic_arithmetic.jinja\"}]"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    for (const Json& row : rollouts("early"))
        EXPECT_EQ(row.contains("judges"), row["kept"] == true) << "nobody is asked of the rest";
    EXPECT_EQ(rows_of(scratch("early") + "/metrics.jsonl").back()["judge_asked_share"], 0.5);

    outcome = run("skipped", ", \"unparsable\": \"skip\"");
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    for (const Json& row : rollouts("skipped")) EXPECT_TRUE(row["scores"]["capo"].is_null());

    expect_refusal(rl("f", {"algo.preset=capo", R"(credit=[{"source": "capo"}])"}),
                   {"capo", "model", "oracle"});
    expect_refusal(rl("g", {"algo.preset=capo", "credit=[{\"source\": \"capo\", \"model\": \"" +
                                                    scratch("start") + "\"}]"}),
                   {"no token for \"Y\"", "template"});
}

// Order B: three of four completions are judged, they alone train, and the stored scores say so.
TEST_F(CreditCommand, ChosenBeforeTheyAreJudgedTheRestIsNeitherJudgedNorTrained) {
    const std::string credit = R"(credit=[{"source": "capo", "model": "oracle", "recall": 0.5}])";
    const std::vector<std::string> algo = {"algo.preset=capo", "algo.kl=none", "algo.kl_coef=0",
                                           credit};
    std::vector<std::string> words = algo;
    words.insert(words.end(), {"sample.n=4", "train.prompts_per_step=6", "select.mode=intra",
                               "select.keep_samples=[3, 3]", "select.before_judging=true"});
    Outcome outcome = rl("early", words);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const std::vector<Json> rows = rollouts("early");
    int kept = 0;
    for (const Json& row : rows) {
        EXPECT_EQ(row["scores"]["capo"].is_null(), row["kept"] == false);
        kept += row["kept"] == true;
        for (const Json& a : row["advantage"]) EXPECT_TRUE(row["kept"] == true || a == 0);
    }
    EXPECT_EQ(kept, 18);
    EXPECT_EQ(rows.size(), 24u);

    std::vector<std::string> again = {"loss",
                                      "rollouts=" + scratch("early") + "/rollouts/000001.jsonl",
                                      "out=" + scratch("again.jsonl")};
    again.insert(again.end(), algo.begin(), algo.end());
    outcome = rlhf(again);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const std::vector<Json> anew = rows_of(scratch("again.jsonl"));
    double size = 0;
    for (size_t i = 0; i < rows.size(); ++i)
        for (size_t t = 0; t < rows[i]["advantage"].size(); ++t) {
            const double a = rows[i]["advantage"][t].get<double>();
            EXPECT_NEAR(a, anew[i]["advantage"][t].get<double>(), 1e-12);
            size += std::abs(a);
        }
    EXPECT_GT(size, 0);
    again.insert(again.end(),
                 {"select.mode=intra", "select.keep_samples=[3, 3]", "select.before_judging=true"});
    expect_refusal(rlhf(again), {"select.before_judging", "stored"});

    words.back() = "select.before_judging=false";
    ASSERT_EQ(rl("late", words).status, 0);
    for (const Json& row : rollouts("late")) EXPECT_FALSE(row["scores"]["capo"].is_null());
    expect_refusal(rl("x", {"select.before_judging=true"}), {"select.before_judging", "all"});
    expect_refusal(
        rl("y", {"select.mode=intra", "select.keep_samples=[3, 3]", "select.before_judging=true"}),
        {"select.before_judging", "capo"});
}

TEST_F(CreditCommand, MisfitsAreRefused) {
    expect_refusal(rl("a", {R"(credit=[{"source": "oracle"}])"}),
                   {"token credit", "reinforce_qrm"});
    expect_refusal(rl("b", {"algo.preset=reinforce_qrm"}), {"estimator = token", "tokens"});
    expect_refusal(rl("c", {"algo.preset=reinforce_qrm",
                            R"(credit=[{"source": "qrm", "model": ")" + scratch("start") + "\"}]"}),
                   {"plain language model", "rlhf reward"});
    expect_refusal(rl("d", {"algo.preset=reinforce_qrm", R"(credit=[{"source": "qrm"}])"}),
                   {"model"});
    expect_refusal(
        rl("e", {"algo.preset=reinforce_qrm",
                 R"(credit=[{"source": "self", "model": "tests/golden/models/llama"}])"}),
        {"vocabular"});
}
