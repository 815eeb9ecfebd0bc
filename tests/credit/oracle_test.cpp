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
    const auto judged = judge_steps(batch, batch.steps, judge);
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
    const auto judged = judge_steps(batch, batch.steps, JudgeKeys());
    for (int i = 0; i < 50; ++i)
        for (size_t s = 0; s < 4; ++s) EXPECT_EQ(judged[i][s].right, batch.steps(i)[s].right);
}

TEST(OracleJudge, JudgesATextTheSameWayAgainAndBySeed) {
    const Completions batch = completions(200);
    JudgeKeys judge;
    judge.precision = 0.5, judge.recall = 0.5;
    auto verdicts = [&] {
        std::vector<bool> all;
        for (const auto& steps : judge_steps(batch, batch.steps, judge))
            for (const StepSpan& step : steps) all.push_back(step.right);
        return all;
    };
    const auto once = verdicts();
    EXPECT_EQ(once, verdicts());
    judge.seed = 1;
    EXPECT_NE(once, verdicts());
}

// A hole in one of the task's kinds of steps, and no error elsewhere.
TEST(OracleJudge, ErrsByTheKindOfAStep) {
    Completions batch = completions(2000);
    const auto of_kinds = [&](int i) {
        std::vector<StepSpan> steps = batch.steps(i);
        for (int s = 0; s < 4; ++s) steps[s].kind = s;
        return steps;
    };
    JudgeKeys judge;
    judge.errors = {0, 0.3, 1, 0};
    double turned[4] = {};
    const auto judged = judge_steps(batch, of_kinds, judge);
    for (int i = 0; i < 2000; ++i)
        for (int s = 0; s < 4; ++s)
            turned[s] += (judged[i][s].right != batch.steps(i)[s].right) / 2000.;
    EXPECT_EQ(turned[0], 0);
    EXPECT_NEAR(turned[1], 0.3, 0.03);
    EXPECT_NEAR(turned[2], 1, 1e-9);
    EXPECT_EQ(turned[3], 0);
}
