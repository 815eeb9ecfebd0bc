#include "train/schedule.h"

#include <gtest/gtest.h>

TEST(Schedule, WarmUpRisesToThePeak) {
    for (const char* name : {"constant", "linear", "cosine"}) {
        EXPECT_DOUBLE_EQ(learning_rate(name, 0.8, 1, 10, 4), 0.2);
        EXPECT_DOUBLE_EQ(learning_rate(name, 0.8, 3, 10, 4), 0.6);
        EXPECT_DOUBLE_EQ(learning_rate(name, 0.8, 4, 10, 4), 0.8);
        EXPECT_DOUBLE_EQ(learning_rate(name, 0.8, 5, 10, 4), 0.8);
    }
}

TEST(Schedule, ValuesByHand) {
    // S = 10, W = 2: q = (s - 3) / 8
    EXPECT_DOUBLE_EQ(learning_rate("constant", 0.8, 10, 10, 2), 0.8);
    EXPECT_DOUBLE_EQ(learning_rate("linear", 0.8, 5, 10, 2), 0.6);  // q = 1/4
    EXPECT_DOUBLE_EQ(learning_rate("linear", 0.8, 10, 10, 2), 0.1); // q = 7/8
    EXPECT_DOUBLE_EQ(learning_rate("cosine", 0.8, 7, 10, 2), 0.4);  // q = 1/2
    EXPECT_DOUBLE_EQ(learning_rate("cosine", 0.8, 5, 10, 2), 0.4 * (1 + std::sqrt(0.5)));
}

TEST(Schedule, NoWarmUpBeginsAtThePeakAndNeverEndsAtZero) {
    for (const char* name : {"constant", "linear", "cosine"}) {
        EXPECT_DOUBLE_EQ(learning_rate(name, 1, 1, 5, 0), 1);
        EXPECT_GT(learning_rate(name, 1, 5, 5, 0), 0);
        EXPECT_DOUBLE_EQ(learning_rate(name, 1, 5, 5, 5), 1); // warm-up for the whole run
    }
}

TEST(Schedule, AnUnknownNameIsAnError) { EXPECT_THROW(learning_rate("step", 1, 1, 2, 0), Error); }
