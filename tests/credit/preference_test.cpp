#include "credit/preference.h"

#include <gtest/gtest.h>

// The same as the probability of a 1 whose logit is 1.2 against a 0 of -0.3.
TEST(Preference, TheProbabilityOfBeatingTheAnchorFollowsTheGap) {
    EXPECT_NEAR(beats_anchor(1.2, -0.3), 0.817574, 5e-7);
    EXPECT_NEAR(beats_anchor(-0.3, 1.2), 1 - 0.817574, 5e-7);
    EXPECT_EQ(beats_anchor(7, 7), 0.5);
}
