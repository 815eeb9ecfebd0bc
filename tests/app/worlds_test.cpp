// DRM and TRM end to end as a user runs them, on models of one layer: worlds, pairs by score, judges,
// credit by dimension and by sentence, replay. Exact programs judge, or models that were just made.

#include "command.h"

namespace {

struct World : testing::Test {
    Scratch at;
    Words tiny = {"tiny.layers=1",         "tiny.width=16",      "tiny.heads=2",    "train.steps=2",
                  "train.rows_per_step=4", "train.eval_every=0", "data.eval_rows=4"};

    // A start for each world: sft of the shipped configuration, two steps.
    void start(const std::string& config, const std::string& name, Words more = {}) {
        Words words = {"sft", config, "run.dir=" + at(name), "train.goal_loss=0"};
        words.insert(words.end(), tiny.begin(), tiny.end());
        words.insert(words.end(), more.begin(), more.end());
        const Outcome outcome = rlhf(words);
        ASSERT_EQ(outcome.status, 0) << outcome.err;
    }
    Outcome rl(const std::string& config, const std::string& start, const std::string& name,
               Words more = {}) {
        Words words = {"rl",
                       config,
                       "model.path=" + at(start),
                       "run.dir=" + at(name),
                       "train.steps=2",
                       "train.prompts_per_step=2",
                       "sample.n=3",
                       "train.eval_problems=3",
                       "train.eval_every=2"};
        words.insert(words.end(), more.begin(), more.end());
        return rlhf(words);
    }
    std::vector<Json> lines(const std::string& name) {
        return rows_of(at(name) + "/metrics.jsonl");
    }
    std::vector<Json> rollouts(const std::string& name) {
        return rows_of(at(name) + "/rollouts/000001.jsonl");
    }
};

using DrmRuns = World;
using TrmRuns = World;
using PreferenceRuns = World;

} // namespace

TEST_F(DrmRuns, CreditByThreeDimensionsIsStoredAndMadeAnew) {
    start("configs/sft_chain_lookup.json", "flawed", {"train.steps=40", "train.rows_per_step=16"});
    Outcome outcome = rl("configs/drm_chain_lookup.json", "flawed", "drm");
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(lines("drm").back().contains("task_valid"));
    EXPECT_TRUE(lines("drm").back().contains("eval_task_valid"));
    EXPECT_EQ(lines("drm")[0]["doctor"].size(), 0u);
    int malformed = 0;
    for (const Json& row : rollouts("drm")) {
        const Json& scores = row["scores"];
        ASSERT_TRUE(scores["drm"].is_number());
        malformed += scores["drm_confidence"].is_null();
        for (const char* part : {"drm_relevance", "drm_coherence"})
            EXPECT_EQ(scores[part].is_null(), scores["drm_confidence"].is_null());
        if (scores["drm_confidence"].is_null()) {
            EXPECT_EQ(scores["drm"], -3);
        }
    }
    EXPECT_GT(malformed, 0) << "a model of two steps writes nothing well-formed always";
    outcome = rlhf({"explain", at("drm")}); // what is malformed has no parts
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    // the stored scores give the run's advantages
    outcome = rlhf({"loss", "rollouts=" + at("drm") + "/rollouts/000001.jsonl",
                    "out=" + at("loss.jsonl"), "algo.preset=grpo", "algo.kl=k3",
                    "algo.kl_coef=0.01", "algo.advantage.combine=sum_of_normalised",
                    "algo.advantage.std=population", "algo.advantage.std_floor=1e-6",
                    R"(credit=[{"source": "rule"}, {"source": "drm"}])"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const auto anew = rows_of(at("loss.jsonl"));
    const auto rows = rollouts("drm");
    for (size_t i = 0; i < rows.size(); ++i)
        for (size_t t = 0; t < rows[i]["advantage"].size(); ++t)
            EXPECT_NEAR(rows[i]["advantage"][t].get<double>(),
                        anew[i]["advantage"][t].get<double>(), 1e-12);
}

TEST_F(DrmRuns, AnswersAreJudgedByDimension) {
    start("configs/sft_chain_lookup.json", "flawed", {"train.steps=120", "train.rows_per_step=16"});
    const Outcome wrote =
        rlhf({"eval", "task.name=chain_lookup", "model.path=" + at("flawed"), "problems=12",
              "sample.n=3", "sample.max_new_tokens=24", "out=" + at("answers.jsonl")});
    ASSERT_EQ(wrote.status, 0) << wrote.err;
    auto judge = [&](Words more) {
        Words words = {"judge", "configs/drm_judge.json", "model.path=" + at("flawed"),
                       "data.path=" + at("answers.jsonl"), "out=" + at("judged.jsonl")};
        words.insert(words.end(), more.begin(), more.end());
        return rlhf(words);
    };
    Outcome outcome = judge({});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    int reasoned = 0, malformed = 0;
    for (const Json& row : rows_of(at("judged.jsonl"))) {
        malformed += row["confidence"].is_null();
        if (row["confidence"].is_null()) {
            EXPECT_TRUE(row["relevance"].is_null() && row["coherence"].is_null());
            continue;
        }
        ++reasoned;
        EXPECT_NEAR(row["confidence"].get<double>(),
                    row["confidence_reasoning"].get<double>() +
                        row["confidence_answer"].get<double>(),
                    1e-9);
        // the policy's own log-probabilities, as eval stored them: the answer's are the last ones
        double sum = 0, best = INFINITY;
        for (size_t t = row["logp"].size(); t-- > 0;) {
            sum += row["logp"][t].get<double>();
            best = std::min(best, std::abs(sum - row["confidence_answer"].get<double>()));
        }
        EXPECT_LT(best, 1e-4);
        double relevance = 0;
        for (const auto& [term, share] : row["relevance"].items()) {
            EXPECT_GT(share, 0);
            EXPECT_LT(share, 1);
            relevance += share.get<double>();
        }
        EXPECT_NEAR(relevance, row["relevance_sum"].get<double>(), 1e-12);
        EXPECT_TRUE(row["coherence"].is_number());
    }
    EXPECT_GT(reasoned, 0);
    const Json said = Json::parse(outcome.err.substr(outcome.err.rfind("\n{") + 1));
    EXPECT_EQ(said["rows"], 36);
    EXPECT_EQ(said["malformed"], malformed);
    EXPECT_TRUE(said["signal"].contains("confidence"));
    // a judge in the program's place says something else, and only where it was asked
    const auto exact = rows_of(at("judged.jsonl"));
    start("configs/sft_chain_lookup.json", "reranker", {"run.seed=9"});
    ASSERT_EQ(judge({"judge.relevance.judge=" + at("reranker")}).status, 0);
    const auto asked = rows_of(at("judged.jsonl"));
    for (size_t i = 0; i < asked.size(); ++i) {
        EXPECT_EQ(asked[i]["coherence"], exact[i]["coherence"]);
        if (asked[i]["relevance"].is_null()) continue;
        EXPECT_NE(asked[i]["relevance"], exact[i]["relevance"]);
    }
    ASSERT_EQ(judge({"model.path="}).status, 0); // no policy: no confidence
    EXPECT_TRUE(rows_of(at("judged.jsonl"))[0]["confidence"].is_null());
    expect_refusal(judge({"task.name=arithmetic"}), {"judge.kind=drm", "reasoning"});
    expect_refusal(judge({"judge.critiques=3"}), {"judge.critiques", "has no effect"});
    expect_refusal(judge({"judge.kind=capo"}), {"judge.relevance.judge", "kind drm"});
}

TEST_F(PreferenceRuns, AnswersAreComparedWithAnAnchor) {
    start("configs/sft_arithmetic.json", "policy", {"train.steps=4"});
    auto run = [&](Words words) { return rlhf(words); };
    ASSERT_EQ(run({"pairs", "configs/pairs_arithmetic.json", "model.path=" + at("policy"),
                   "pairs.prompts=40", "pairs.rule=random", "out=" + at("pairs.jsonl")})
                  .status,
              0);
    Outcome outcome = run({"reward", "configs/orm_arithmetic.json", "model.path=" + at("policy"),
                           "data.train=" + at("pairs.jsonl"), "data.eval=", "run.dir=" + at("orm"),
                           "train.steps=2", "train.rows_per_step=4", "train.eval_every=0"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    ASSERT_EQ(run({"eval", "configs/eval_arithmetic.json", "model.path=" + at("policy"),
                   "problems=6", "out=" + at("answers.jsonl")})
                  .status,
              0);
    auto judge = [&](Words more) {
        Words words = {"judge", "judge.kind=preference", "data.path=" + at("answers.jsonl"),
                       "out=" + at("judged.jsonl")};
        words.insert(words.end(), more.begin(), more.end());
        return rlhf(words);
    };
    outcome = judge({"model.path=" + at("orm"), "judge.anchor=0.5"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    for (const Json& row : rows_of(at("judged.jsonl")))
        EXPECT_NEAR(row["preference"].get<double>(),
                    1 / (1 + std::exp(0.5 - row["score"].get<double>())), 1e-12);
    expect_refusal(judge({"model.path=" + at("policy")}), {"no scalar head"});
    expect_refusal(judge({}), {"model.path"});
    expect_refusal(judge({"model.path=" + at("orm"), "judge.vote=union"}), {"judge.vote"});
}

TEST_F(DrmRuns, PairsAreTheHighestAndTheLowestAndDpoTakesThem) {
    start("configs/sft_chain_lookup.json", "flawed", {"train.steps=120", "train.rows_per_step=16"});
    auto pairs = [&](Words more) {
        Words words = {"pairs", "configs/drm_pairs_chain_lookup.json", "model.path=" + at("flawed"),
                       "pairs.prompts=40", "out=" + at("pairs.jsonl")};
        words.insert(words.end(), more.begin(), more.end());
        return rlhf(words);
    };
    Outcome outcome = pairs({});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const auto rows = rows_of(at("pairs.jsonl"));
    ASSERT_GT(rows.size(), 3u);
    for (const Json& row : rows) {
        EXPECT_GT(row["chosen_score"].get<double>(), row["rejected_score"].get<double>());
        EXPECT_NE(row["chosen_ids"], row["rejected_ids"]);
    }
    const Json said = Json::parse(outcome.out.substr(outcome.out.rfind("\n{") + 1));
    EXPECT_EQ(said["train"]["pairs"], rows.size());
    EXPECT_TRUE(said["train"]["chosen"].contains("valid"));
    const Outcome dpo = rlhf({"reward", "configs/dpo_chain_lookup.json",
                              "model.path=" + at("flawed"), "data.train=" + at("pairs.jsonl"),
                              "run.dir=" + at("dpo"), "train.steps=2", "train.rows_per_step=3"});
    EXPECT_EQ(dpo.status, 0) << dpo.err;
    ASSERT_EQ(pairs({"pairs.rule=random"}).status, 0);
    EXPECT_FALSE(rows_of(at("pairs.jsonl"))[0].contains("chosen_score"));
    expect_refusal(pairs({"pairs.min_gap=1000"}), {"differ enough"});
    expect_refusal(pairs({"pairs.per_prompt=2"}), {"pairs.per_prompt", "max_min"});
    expect_refusal(pairs({"sample.temperature=0.5"}), {"sample.temperature"});
    expect_refusal(pairs({"task.name=arithmetic"}), {"reasoning"});
}

TEST_F(DrmRuns, JudgesAreModelsOfOurOwn) {
    start("configs/sft_chain_lookup.json", "flawed", {"train.steps=120", "train.rows_per_step=16"});
    for (const char* kind : {"relevance", "coherence"}) {
        Outcome outcome = rlhf({"rows", "task.name=chain_lookup", format("kind=%s", kind),
                                "problems=30", "out=" + at(format("%s.jsonl", kind))});
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        outcome = rlhf(
            {"reward", format("configs/%s_chain_lookup.json", kind), "model.path=" + at("flawed"),
             "run.dir=" + at(kind), "data.train=" + at(format("%s.jsonl", kind)),
             "data.eval=" + at(format("%s.jsonl", kind)), "train.steps=2", "train.eval_every=2"});
        ASSERT_EQ(outcome.status, 0) << outcome.err;
    }
    const std::string credit = R"(credit=[{"source": "drm", "relevance": {"judge": ")" +
                               at("relevance") + R"("}, "coherence": {"judge": ")" +
                               at("coherence") + R"("}}])";
    Outcome outcome = rl("configs/drm_chain_lookup.json", "flawed", "judged", {credit});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    bool any = false;
    for (const Json& row : rollouts("judged")) {
        const Json& relevance = row["scores"]["drm_relevance"];
        if (relevance.is_null()) continue;
        any = true;
        EXPECT_GT(relevance.get<double>(), 0);
        EXPECT_LT(relevance.get<double>(), 3);
    }
    EXPECT_TRUE(any);
    expect_refusal(rl("configs/drm_chain_lookup.json", "flawed", "none",
                      {R"(credit=[{"source": "drm", "relevance": {"judge": 3}}])"}),
                   {"relevance.judge"});
    expect_refusal(rlhf({"rows", "task.name=arithmetic", "kind=coherence"}), {"no judges"});
}

TEST_F(TrmRuns, BothStagesAndThePolicy) {
    start("configs/sft_library_know.json", "know", {"train.steps=60", "train.rows_per_step=16"});
    start("configs/trm_stage1.json", "judge",
          {"model.path=" + at("know"), "train.steps=60", "train.rows_per_step=16"});
    Outcome outcome =
        rl("configs/trm_stage2.json", "judge", "judge_rl", {"replay.rows_per_step=3"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    for (const char* name : {"task_readable", "replay_loss_nats_per_token", "eval_task_readable"})
        EXPECT_TRUE(lines("judge_rl").back().contains(name)) << name;
    for (const Json& row : rollouts("judge_rl")) {
        const Json& verdicts = row["scores"]["trm_labels"];
        ASSERT_TRUE(verdicts["end"].is_array());
        for (const Json& value : verdicts["value"]) {
            const double r = value.get<double>();
            EXPECT_TRUE(r == -0.5 || r == 0 || r == 0.5 || r == 1 || r == 1.5) << r;
        }
    }
    // the same run again ends in the same weights, wherever it was interrupted
    const std::string weights = "/checkpoints/000002/model.safetensors";
    Words more = {"replay.rows_per_step=3", "run.save_every=1", "run.keep=9", "run.resume=true"};
    ASSERT_EQ(rl("configs/trm_stage2.json", "judge", "again", more).status, 0);
    EXPECT_EQ(read_file(at("again") + weights), read_file(at("judge_rl") + weights));
    remove_tree(at("again") + "/checkpoints/000002");
    outcome = rl("configs/trm_stage2.json", "judge", "again", more);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(read_file(at("again") + weights), read_file(at("judge_rl") + weights));

    start("configs/sft_library_answer.json", "answer",
          {"model.path=" + at("know"), "train.steps=60", "train.rows_per_step=16"});
    for (const char* config : {"policy", "exploited"}) {
        outcome = rl(format("configs/trm_%s.json", config), "answer", config);
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        EXPECT_TRUE(lines(config).back().contains("task_right_coverage"));
        EXPECT_TRUE(lines(config).back().contains("eval_task_coverage"));
        EXPECT_EQ(lines(config)[0]["doctor"].size(), 0u);
        outcome = rlhf({"explain", at(config)}); // a segment's score stands on its tokens
        EXPECT_EQ(outcome.status, 0) << outcome.err;
    }
    expect_refusal(rl("configs/trm_stage2.json", "judge", "x", {"task.stale_library.role=answer"}),
                   {"trm_labels", "verdicts"});
    expect_refusal(rl("configs/trm_stage2.json", "judge", "x", {"replay.task.name="}),
                   {"replay.task.name"});
    expect_refusal(rlhf({"sft", "configs/trm_stage1.json", "model.path=" + at("know"),
                         "run.dir=" + at("y"), "train.verdict_weights=[1, 2]"}),
                   {"train.verdict_weights", "three"});
}

TEST_F(TrmRuns, WeightsOfAFieldChangeItsTokensAlone) {
    start("configs/sft_library_know.json", "know");
    Json plain, weighted;
    for (const char* weights : {"[1, 1, 1]", "[1, 1, 3]"}) {
        const std::string name = format("w%s", weights);
        start("configs/trm_stage1.json", name,
              {"model.path=" + at("know"), format("train.verdict_weights=%s", weights),
               "task.stale_library.know_share=0"});
        (plain.is_null() ? plain : weighted) = lines(name)[0];
    }
    EXPECT_GT(weighted["loss_nats_per_token"], plain["loss_nats_per_token"]);
    EXPECT_EQ(weighted["eval_loss_before_nats_per_token"],
              plain["eval_loss_before_nats_per_token"]);
}
