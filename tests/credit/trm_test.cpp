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
