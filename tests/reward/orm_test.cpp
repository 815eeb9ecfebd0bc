#include "reward/orm.h"

#include <gtest/gtest.h>

// A label of right or wrong: dL/dz = sigma(z) - y.
TEST(Orm, PointwiseIsTheCrossEntropyOfTheLabel) {
    double dscore = 0;
    EXPECT_NEAR(orm_pointwise_loss(1.5, 1, 0, dscore), 0.201413, 5e-7);
    EXPECT_NEAR(dscore, -0.182426, 5e-7);
    EXPECT_NEAR(orm_pointwise_loss(1.5, 0, 0, dscore), 1.701413, 5e-7);
    EXPECT_NEAR(dscore, 0.817574, 5e-7);
}

// Of a pair only the gap counts: 2.0 - 0.5.
TEST(Orm, PairsAreBradleyTerrys) {
    double dchosen = 0, drejected = 0;
    EXPECT_NEAR(orm_loss(2.0, 0.5, dchosen, drejected), 0.201413, 5e-7);
    EXPECT_NEAR(dchosen, -0.182426, 5e-7);
    EXPECT_NEAR(drejected, 0.182426, 5e-7);
}
