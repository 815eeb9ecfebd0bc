#include "credit/trm.h"

#include <gtest/gtest.h>

// alpha = bonus = 1/2; f^ right or not, c^, c
TEST(TrmLabels, EveryCaseOfRightAndWrong) {
    struct Case {
        bool f_right, judged, correct;
        double reward;
    };
    for (const Case& c : {Case{1, 0, 0, 1.5},
                          {1, 1, 1, 1.0},
                          {1, 0, 1, 0.5},
                          {1, 1, 0, 0.5},
                          {0, 0, 0, 1.0},
                          {0, 1, 1, 0.5},
                          {0, 0, 1, 0},
                          {0, 1, 0, 0}})
        for (bool f : {false, true})
            EXPECT_EQ(trm_label_reward({c.f_right ? f : !f, c.judged}, {f, c.correct}, 0.5, 0.5),
                      c.reward)
                << c.f_right << c.judged << c.correct;
    EXPECT_EQ(trm_label_reward({true, false}, {true, true}, 0.75, 0), 0.75);
    EXPECT_EQ(trm_label_reward({false, true}, {true, true}, 0.75, 0), 0.25);
}

// At the threshold p* of p(c = 0) a judge earns as much by saying 0 as by saying 1.
TEST(TrmLabels, TheBonusMovesTheBestThreshold) {
    const double alpha = 0.5;
    struct Case {
        double bonus, threshold;
    };
    for (const Case& c : {Case{0, 0.5}, {0.25, 0.4}, {0.5, 1.0 / 3}, {1, 0.25}, {2, 1.0 / 6}}) {
        auto earns = [&](bool says, double p_wrong) {
            const SentenceLabel judged{true, says};
            return p_wrong * trm_label_reward(judged, {true, false}, alpha, c.bonus) +
                   (1 - p_wrong) * trm_label_reward(judged, {true, true}, alpha, c.bonus);
        };
        EXPECT_NEAR(earns(false, c.threshold), earns(true, c.threshold), 1e-12) << c.bonus;
        EXPECT_LT(earns(false, c.threshold - 0.01), earns(true, c.threshold - 0.01));
        EXPECT_GT(earns(false, c.threshold + 0.01), earns(true, c.threshold + 0.01));
    }
}

TEST(TrmLabels, WhatHasNoLabelEarnsNothing) {
    const LabelledVerdict no_f{1, {true, false}, {false, false}, false, true},
        no_c{1, {true, false}, {true, false}, true, false},
        neither{1, {true, true}, {true, true}, false, false};
    EXPECT_EQ(trm_label_reward(no_f, .5, .5), 1);
    EXPECT_EQ(trm_label_reward(no_c, .5, .5), .5);
    EXPECT_EQ(trm_label_reward(neither, .5, .5), 0);
}
