#include "credit/channel.h"

#include <gtest/gtest.h>

TEST(Channel, Pools) {
    const std::vector<double> scores = {1, -2, 4};
    EXPECT_EQ(pooled(scores, "mean"), 1);
    EXPECT_EQ(pooled(scores, "last"), 4);
    EXPECT_EQ(pooled(scores, "sum"), 3);
    EXPECT_EQ(pooled(scores, "min"), -2);
}
