// The judge that is an exact program errs as often as it is told, and the same way on the same
// text.

#include "credit/oracle.h"

#include <gtest/gtest.h>

// n completions of four steps each, the third one wrong in every other completion.
static Completions completions(int n) {
    Completions batch;
    for (int i = 0; i < n; ++i) batch.texts.push_back({{1, i / 256, i % 256, 7, 8, 9}, 2, i});
    batch.steps = [](int i) {
        return std::vector<StepSpan>{{0, 1, true}, {1, 2, true}, {2, 3, i % 2 == 0}, {3, 4, true}};
    };
    return batch;
}

TEST(OracleJudge, ErrsAsOftenAsItIsTold) {
    const Completions batch = completions(4000);
    JudgeKeys judge;
    judge.precision = 0.8, judge.recall = 0.6;
    double found = 0, called = 0;
    const auto judged = judge_steps(batch, judge);
    for (int i = 0; i < 4000; ++i)
        for (size_t s = 0; s < 4; ++s) {
            if (judged[i][s].right) continue;
            ++called;
            found += !batch.steps(i)[s].right;
        }
    EXPECT_NEAR(found / 2000, 0.6, 0.04);
    EXPECT_NEAR(found / called, 0.8, 0.04);
}

TEST(OracleJudge, AnExactOneIsTheTaskItself) {
    const Completions batch = completions(50);
    const auto judged = judge_steps(batch, JudgeKeys());
    for (int i = 0; i < 50; ++i)
        for (size_t s = 0; s < 4; ++s) EXPECT_EQ(judged[i][s].right, batch.steps(i)[s].right);
}

TEST(OracleJudge, JudgesATextTheSameWayAgainAndBySeed) {
    const Completions batch = completions(200);
    JudgeKeys judge;
    judge.precision = 0.5, judge.recall = 0.5;
    auto verdicts = [&] {
        std::vector<bool> all;
        for (const auto& steps : judge_steps(batch, judge))
            for (const StepSpan& step : steps) all.push_back(step.right);
        return all;
    };
    const auto once = verdicts();
    EXPECT_EQ(once, verdicts());
    judge.seed = 1;
    EXPECT_NE(once, verdicts());
}
