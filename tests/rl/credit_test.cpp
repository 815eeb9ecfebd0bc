// Credit by completion, segment and token through `rlhf loss` on stored rows: the vectors of DRM,
// TRM and CAPO, and what happens to a judge that failed, a group of one and an answer without
// sentences.

#include "command.h"

#include <cmath>

namespace {

using Doubles = std::vector<double>;

struct LossRun : testing::Test {
    Scratch scratch;
    std::vector<Json> rows;

    // A completion of `tokens` tokens.
    void row(int prompt, int tokens, Json scores) {
        rows.push_back({{"prompt_id", prompt},
                        {"sample", rows.size()},
                        {"completion_ids", std::vector<int>(tokens, 1)},
                        {"logp_old", Doubles(tokens, -1.0)},
                        {"scores", std::move(scores)}});
    }
    Outcome run(const std::string& credit, std::vector<std::string> more = {}) {
        std::string text;
        for (const Json& each : rows) text += each.dump() + "\n";
        write_file(scratch("rows.jsonl"), text);
        std::vector<std::string> words = {"loss",
                                          "rollouts=" + scratch("rows.jsonl"),
                                          "out=" + scratch("out.jsonl"),
                                          "credit=" + credit,
                                          "algo.advantage.std=population",
                                          "algo.advantage.std_eps=0"};
        words.insert(words.end(), more.begin(), more.end());
        return rlhf(words);
    }
    std::vector<Doubles> advantages(const std::string& credit, std::vector<std::string> more = {}) {
        const Outcome outcome = run(credit, more);
        EXPECT_EQ(outcome.status, 0) << outcome.err;
        std::vector<Doubles> A;
        if (outcome.status == 0)
            for (const Json& each : rows_of(scratch("out.jsonl")))
                A.push_back(each["advantage"].get<Doubles>());
        return A;
    }
};

void expect_near(const std::vector<Doubles>& got, const std::vector<Doubles>& want,
                 double tolerance = 6e-7) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i].size(), want[i].size()) << i;
        for (size_t t = 0; t < got[i].size(); ++t)
            EXPECT_NEAR(got[i][t], want[i][t], tolerance) << i << ", " << t;
    }
}

Json segments(std::vector<int> end, Doubles value) { return {{"end", end}, {"value", value}}; }

const char* const third =
    R"({"source": "drm", "confidence": {"weight": 0.333333333333333}, "relevance": {"weight": 0.333333333333333}, "coherence": {"weight": 0.333333333333333}})";

} // namespace

// ---- DRM ----------------------------------------------------------------------------------------

struct DrmLoss : LossRun {
    void SetUp() override {
        const double confidence[] = {-1.7, -.9, -2.5, -.9}, relevance[] = {2.1, 1.2, 2.1, .6},
                     coherence[] = {3, -1, 1, -3};
        for (int i = 0; i < 4; ++i)
            row(0, 1,
                {{"rule", i % 2 == 0},
                 {"drm_confidence", confidence[i]},
                 {"drm_relevance", relevance[i]},
                 {"drm_coherence", coherence[i]}});
        for (Json& each : rows) each["scores"]["rule"] = each["scores"]["rule"] == true ? 1 : 0;
    }
};

TEST_F(DrmLoss, OneDimensionIsItsZScore) {
    const auto A = advantages(
        R"([{"source": "drm", "relevance": {"weight": 0}, "coherence": {"weight": 0}}])");
    expect_near(A, {{-.301511}, {.904534}, {-1.507557}, {.904534}});
}

TEST_F(DrmLoss, TheSumIsNormalisedAgain) {
    const auto A = advantages(format("[%s]", third));
    expect_near(A, {{1.460508}, {-.010373}, {-.086568}, {-1.363567}});
    const auto rewards = rows_of(scratch("out.jsonl"));
    const double S[] = {.660979, -.004695, -.039178, -.617107};
    for (int i = 0; i < 4; ++i) EXPECT_NEAR(rewards[i]["reward"].get<double>(), S[i], 6e-7);
}

TEST_F(DrmLoss, NormaliseThenAddIsNotAddThenNormalise) {
    const std::string list = format(R"([{"source": "rule"}, %s])", third);
    expect_near(advantages(list, {"algo.advantage.combine=sum_of_normalised"}),
                {{2.460508}, {-1.010373}, {.913432}, {-2.363567}});
    expect_near(advantages(list), {{1.326753}, {-.576759}, {.526621}, {-1.276615}});
}

TEST_F(DrmLoss, ARowTheJudgeFailedOnGetsNothingAndSpoilsNothing) {
    const std::string list = format(R"([{"source": "rule"}, %s])", third);
    const auto without = advantages(list),
               parts = advantages(list, {"algo.advantage.combine=sum_of_normalised"});
    row(0, 2,
        {{"rule", 1},
         {"drm", nullptr},
         {"drm_confidence", nullptr},
         {"drm_relevance", nullptr},
         {"drm_coherence", nullptr}});
    for (int i = 0; i < 4; ++i) rows[i]["scores"]["drm"] = 0;
    auto A = advantages(list);
    EXPECT_EQ(A[4], Doubles({0, 0}));
    A.pop_back();
    expect_near(A, without, 1e-15);
    // where each is normalised alone, the rule goes on to count: rewards 1 0 1 0 1
    A = advantages(list, {"algo.advantage.combine=sum_of_normalised"});
    const double rule[] = {std::sqrt(2. / 3), -std::sqrt(1.5)};
    EXPECT_NEAR(A[4][0], rule[0], 1e-12);
    for (int i = 0; i < 4; ++i)
        EXPECT_NEAR(A[i][0], parts[i][0] + rule[i % 2] - (i % 2 ? -1 : 1), 1e-12);
}

// ---- TRM ----------------------------------------------------------------------------------------

struct TrmLoss : LossRun {
    const std::string list =
        R"([{"source": "trm"}, {"source": "preference", "to": "segments", "weight": 2}])";
    void SetUp() override {
        row(0, 4, {{"trm", segments({1, 2, 3}, {1, 0, 1})}, {"preference", .75}});
        row(0, 2, {{"trm", segments({2}, {1})}, {"preference", .25}});
        row(0, 3, {{"trm", segments({1, 3}, {0, 1})}, {"preference", .5}});
    }
};

TEST_F(TrmLoss, SentencesOfThePromptArePooled) {
    const double tail = (1.206045 - .603023 + 1.206045) / 3;
    const std::vector<Doubles> want = {
        {1.206045, -.603023, 1.206045, tail}, {-.603023, -.603023}, {-1.507557, .301511, .301511}};
    expect_near(advantages(list), want);
    auto last = want, zero = want;
    last[0][3] = want[0][2], zero[0][3] = 0;
    expect_near(advantages(list, {"algo.advantage.after_last_segment=last"}), last);
    expect_near(advantages(list, {"algo.advantage.after_last_segment=zero"}), zero);
    // preference as a reward of the completion is the same on the sentences, and reaches every
    // token
    const std::string whole = R"([{"source": "trm"}, {"source": "preference", "weight": 2}])";
    expect_near(advantages(whole), want);
    zero[0][3] = 2 * (.75 - (3 * .75 + .25 + 2 * .5) / 6) / .552771;
    expect_near(advantages(whole, {"algo.advantage.after_last_segment=zero"}), zero, 2e-6);
}

TEST_F(TrmLoss, AnUnreadableJudgeLeavesThePool) {
    const auto without = advantages(list);
    row(0, 2, {{"trm", nullptr}, {"preference", .9}});
    auto A = advantages(list);
    EXPECT_EQ(A.back(), Doubles({0, 0}));
    A.pop_back();
    expect_near(A, without, 1e-15);
}

TEST_F(TrmLoss, EachChannelOverItsOwnUnits) {
    const auto A = advantages(R"([{"source": "trm"}, {"source": "preference", "weight": 2}])",
                              {"algo.advantage.combine=sum_of_normalised"});
    // c^: 1 0 1 | 1 | 0 1, mean 2/3, deviation sqrt(2)/3;  p: .75 .25 .5, mean .5, deviation
    // sqrt(1/24)
    const double one = std::sqrt(.5), none = -std::sqrt(2), p = 2 * .25 / std::sqrt(1. / 24);
    expect_near(A,
                {{one + p, none + p, one + p, (2 * one + none) / 3 + p},
                 {one - p, one - p},
                 {none, one, one}},
                1e-12);
}

TEST_F(TrmLoss, AnAnswerWithoutSentencesIsOneWorthThePenalty) {
    rows.clear();
    row(0, 2, {{"trm", segments({1, 2}, {1, 1})}});
    row(0, 3, {{"trm", segments({}, {})}});
    // 1, 1, -1: mean 1/3, deviation sqrt(8)/3
    expect_near(advantages(R"([{"source": "trm"}])"),
                {{std::sqrt(.5), std::sqrt(.5)}, Doubles(3, -std::sqrt(2))}, 1e-12);
    expect_near(advantages(R"([{"source": "trm"}])", {"algo.advantage.format_penalty=1"}),
                {{0, 0}, {0, 0, 0}}, 0);
}

TEST_F(TrmLoss, SegmentsOnTheirTokensArePooledByTokens) {
    rows.clear();
    row(0, 3, {{"trm", segments({2, 3}, {1, 0})}});
    row(0, 1, {{"trm", segments({1}, {1})}});
    const std::vector<std::string> by_token = {"algo.preset=capo", "algo.kl=none",
                                               "algo.kl_coef=0"};
    const auto A = advantages(R"([{"source": "trm", "to": "tokens"}])", by_token);
    // 1 1 0 1: mean 3/4, deviation sqrt(3)/4
    expect_near(A, {{1 / std::sqrt(3), 1 / std::sqrt(3), -std::sqrt(3)}, {1 / std::sqrt(3)}},
                1e-12);
    // one segment per token: the same statistics by either way
    rows.clear();
    row(0, 3, {{"trm", segments({1, 2, 3}, {1, .5, 0})}});
    row(0, 2, {{"trm", segments({1, 2}, {1, -2})}});
    expect_near(advantages(R"([{"source": "trm", "to": "tokens"}])", by_token),
                advantages(R"([{"source": "trm"}])"), 1e-14);
}

struct TrmLabelsLoss : LossRun {
    // Four judgements of two sentences, the first of which is wrong; f^ is right in all.
    void judged(double bonus) {
        rows.clear();
        const bool first[] = {1, 0, 0, 1}, second[] = {1, 1, 0, 1};
        for (int i = 0; i < 4; ++i)
            row(0, 2,
                {{"trm_labels",
                  segments({1, 2}, {.5 + (.5 + bonus) * first[i], .5 + .5 * second[i]})}});
    }
};

TEST_F(TrmLabelsLoss, ABonusCancelsPerIndexAndActsWithOneDeviation) {
    const std::string list = R"([{"source": "trm_labels"}])";
    const double z = .577350, low = -1.732051;
    for (double bonus : {0.0, 0.5, 2.0}) {
        judged(bonus);
        expect_near(advantages(list, {"algo.advantage.segment_pool=per_index"}),
                    {{1, z}, {-1, z}, {-1, low}, {1, z}}, 1e-6);
    }
    const std::string pooled = "algo.advantage.segment_pool=index_centre_group_std";
    judged(0);
    expect_near(
        advantages(list, {pooled}),
        {{1.069045, .534522}, {-1.069045, .534522}, {-1.069045, -1.603567}, {1.069045, .534522}});
    judged(.5);
    expect_near(
        advantages(list, {pooled}),
        {{1.297771, .324443}, {-1.297771, .324443}, {-1.297771, -.973329}, {1.297771, .324443}});
}

// ---- CAPO ---------------------------------------------------------------------------------------

struct CapoLoss : LossRun {
    std::vector<std::string> preset = {"algo.preset=capo", "algo.kl=none", "algo.kl_coef=0"};
    // The share of bad tokens is wrong in each of these; 10 tokens each.
    void group(int prompt, const std::vector<std::pair<int, int>>& rule_and_bad) {
        for (auto [rule, bad] : rule_and_bad) {
            Doubles penalty(10);
            for (int t = 0; t < bad; ++t) penalty[9 - t] = 1;
            row(prompt, 10, {{"rule", rule}, {"capo", penalty}});
        }
    }
};

TEST_F(CapoLoss, RewardsOfTheFourCases) {
    group(0, {{1, 2}, {0, 5}});
    struct Case {
        double process, right, right_wrong, wrong, wrong_wrong;
    };
    for (const Case& c :
         {Case{1, 2, 1, 0, -1}, {.1, 2, 1.9, 0, -.1}, {2, 2, 0, 0, -2}, {5, 2, -3, 0, -5}}) {
        advantages(format(R"([{"source": "capo", "w_process": %g}])", c.process), preset);
        const auto out = rows_of(scratch("out.jsonl"));
        EXPECT_EQ(out[0]["credit"][0], c.right);
        EXPECT_EQ(out[0]["credit"][9], c.right_wrong);
        EXPECT_EQ(out[1]["credit"][0], c.wrong);
        EXPECT_EQ(out[1]["credit"][9], c.wrong_wrong);
    }
}

// mean .7, population deviation 1.2689 over the forty tokens
TEST_F(CapoLoss, AdvantagesOverAllTokensOfThePrompt) {
    group(0, {{1, 0}, {1, 2}, {0, 5}, {0, 5}});
    const auto A = advantages(R"([{"source": "capo"}])", preset);
    const double mean = .7, std = std::sqrt((18 * 4 + 2 + 10) / 40. - mean * mean);
    EXPECT_NEAR(A[0][0], (2 - mean) / std, 1e-12);
    EXPECT_NEAR(A[1][9], (1 - mean) / std, 1e-12);
    EXPECT_NEAR(A[2][0], (0 - mean) / std, 1e-12);
    EXPECT_NEAR(A[3][9], (-1 - mean) / std, 1e-12);
    for (auto [got, want] :
         {std::pair{A[0][0], 1.02}, {A[1][9], .24}, {A[2][0], -.55}, {A[3][9], -1.34}})
        EXPECT_NEAR(got, want, .006);
}

// What the paper's formula gives: one right of eight (the wrong ones 40 % bad), all right (2 % bad), all wrong
// (30 % bad).
TEST_F(CapoLoss, RareOutcomesAndRareFaultsAreLarge) {
    group(0, {{1, 0}, {0, 4}, {0, 4}, {0, 4}, {0, 4}, {0, 4}, {0, 4}, {0, 4}});
    group(1, {{1, 0}, {1, 1}, {1, 0}, {1, 0}, {1, 0}});
    group(2, {{0, 3}, {0, 3}});
    const auto A = advantages(R"([{"source": "capo"}])", preset);
    for (auto [got, want] : {std::pair{A[0][0], 2.29},
                             {A[1][0], .11},
                             {A[1][9], -.98},
                             {A[8][0], .14},
                             {A[9][9], -7.},
                             {A[13][0], .65},
                             {A[13][9], -1.53}})
        EXPECT_NEAR(got, want, .006);
}

TEST_F(CapoLoss, EqualOutcomesStillTeachByTheirSteps) {
    for (int prompt = 0; prompt < 2; ++prompt)
        group(prompt, {{1 - prompt, 0}, {1 - prompt, 1}, {1 - prompt, 0}, {1 - prompt, 0}});
    const auto A = advantages(R"([{"source": "capo"}])", preset);
    const double f = 1 / 40., good = std::sqrt(f / (1 - f)), bad = -std::sqrt((1 - f) / f);
    for (int i : {1, 5}) {
        EXPECT_NEAR(A[i][0], good, 1e-12);
        EXPECT_NEAR(A[i][9], bad, 1e-12);
    }
    // the scale of the process weight cancels; a floor takes out what is too rare, a clip bounds it
    expect_near(advantages(R"([{"source": "capo", "w_process": 5}])", preset), A, 1e-12);
    auto with = preset;
    with.push_back("algo.advantage.std_floor=0.25");
    expect_near(advantages(R"([{"source": "capo"}])", with), std::vector<Doubles>(8, Doubles(10)),
                0);
    with.back() = "algo.advantage.clip=5";
    EXPECT_EQ(advantages(R"([{"source": "capo"}])", with)[1][9], -5);
}

TEST_F(CapoLoss, AGroupOfOneGetsNothing) {
    group(0, {{1, 4}});
    group(1, {{1, 4}, {0, 4}});
    EXPECT_EQ(advantages(R"([{"source": "capo"}])", preset)[0], Doubles(10));
    rows.clear();
    row(0, 3, {{"trm", segments({1, 3}, {0, 1})}});
    for (const char* pool : {"group", "index_centre_group_std", "per_index"})
        EXPECT_EQ(advantages(R"([{"source": "trm"}])",
                             {format("algo.advantage.segment_pool=%s", pool)})[0],
                  Doubles(3))
            << pool;
    // one of two, when the judge failed on the other
    row(0, 2, {{"trm", nullptr}});
    EXPECT_EQ(advantages(R"([{"source": "trm"}])")[0], Doubles(3));
}

TEST_F(CapoLoss, TheShippedConfigurationIsTheTable) {
    group(0, {{1, 0}, {1, 2}, {0, 5}, {0, 5}});
    for (Json& each : rows) each["logp_ref"] = Doubles(10, -1.25);
    std::string text;
    for (const Json& each : rows) text += each.dump() + "\n";
    write_file(scratch("rows.jsonl"), text);
    const Outcome outcome =
        rlhf({"loss", "configs/capo.json", R"(credit=[{"source": "capo"}])",
              "rollouts=" + scratch("rows.jsonl"), "out=" + scratch("out.jsonl")});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const auto out = rows_of(scratch("out.jsonl"));
    const double A = (2 - .7) / (std::sqrt((18 * 4 + 2 + 10) / 40. - .49) + 1e-6);
    EXPECT_NEAR(out[0]["advantage"][0].get<double>(), A, 1e-12);
    // 1/I 1/|o| (-A + 0.001 (1 - e^delta)), delta = logp_ref - logp
    EXPECT_NEAR(out[0]["dlogp"][0].get<double>(), (-A + .001 * (1 - std::exp(-.25))) / 40, 1e-14);
}

// ---- errors -------------------------------------------------------------------------------------

TEST_F(LossRun, WhatDoesNotGoTogetherIsRefused) {
    row(0, 2, {{"rule", 1}, {"trm", segments({1, 2}, {0, 1})}, {"capo", {0, 1}}, {"qrm", {1, 2}}});
    row(0, 1, {{"rule", 0}, {"trm", segments({1}, {1})}, {"capo", {0}}, {"qrm", {3}}});
    EXPECT_EQ(run(R"([{"source": "rule"}])").status, 0) << "no reward is needed";
    expect_refusal(run(R"([{"source": "orm"}])"), {"rows.jsonl:1", "scores.orm", "rule, trm"});
    expect_refusal(run(R"([{"source": "capo"}])"), {"tokens", "capo"});
    expect_refusal(run(R"([{"source": "rule", "to": "segments"}])"), {"to=segments", "trm"});
    expect_refusal(run(R"([{"source": "trm"}, {"source": "qrm"}])"), {"tokens", "segments"});
    expect_refusal(run(R"([{"source": "trm"}])",
                       {"algo.preset=reinforce_qrm", "algo.advantage.baseline=group_mean"}),
                   {"estimator"});
    expect_refusal(
        run(R"([{"source": "rule"}])",
            {"algo.preset=reinforce_pp", "algo.kl=none", "algo.kl_coef=0",
             "algo.advantage.baseline=group_mean", "algo.advantage.combine=sum_of_normalised"}),
        {"sum_of_normalised"});
    for (const char* key :
         {"segment_pool=per_index", "after_last_segment=zero", "format_penalty=-2"})
        expect_refusal(run(R"([{"source": "rule"}])", {std::string("algo.advantage.") + key}),
                       {"algo.advantage.", "no effect"});
    EXPECT_EQ(run(R"([{"source": "trm"}, {"source": "qrm", "weight": 0}])").status, 0);
    EXPECT_EQ(run(R"([{"source": "trm"}, {"source": "qrm"}])",
                  {"algo.advantage.combine=sum_of_normalised"})
                  .status,
              0);
}
