#include "credit/channel.h"

#include <gtest/gtest.h>

TEST(Channel, Pools) {
    const std::vector<double> scores = {1, -2, 4};
    EXPECT_EQ(pooled(scores, Pool::mean), 1);
    EXPECT_EQ(pooled(scores, Pool::last), 4);
    EXPECT_EQ(pooled(scores, Pool::sum), 3);
    EXPECT_EQ(pooled(scores, Pool::min), -2);
}
