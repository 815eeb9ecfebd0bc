#include "dist/controllers.h"

#include <gtest/gtest.h>

TEST(Controllers, OneProcessForAllGrowsWithThemAndOneForEachDoesNot) {
    // 32 samples per device; 0.69 s for 1024 small texts, as verl's issue 2847 reports; 5 MB at 1 GB/s.
    const double text = 0.69 / 1024, image = 0.005;
    EXPECT_NEAR(central_seconds(64 * 32, text), 1.4, 0.05);
    EXPECT_NEAR(central_seconds(512 * 32, text), 11, 0.1);
    EXPECT_NEAR(central_seconds(4096 * 32, text), 88, 0.5);
    EXPECT_NEAR(central_seconds(4096 * 32, image), 655, 1);
    for (int devices : {64, 4096}) {
        EXPECT_NEAR(per_rank_seconds(devices * 32, devices, text), 0.0216, 1e-3);
        EXPECT_NEAR(per_rank_seconds(devices * 32, devices, image), 0.16, 1e-9);
    }
}

TEST(Controllers, MachinesDrawInChunksThatGetSmaller) {
    // 8 tickets, 2 machines: 2, 1, 1, 1, 1, 1, 1.
    EXPECT_EQ(chunk_draws(8, 2), 7);
    EXPECT_EQ(chunk_draws(0, 4), 0);
    EXPECT_EQ(chunk_draws(3, 8), 3);
    EXPECT_LT(chunk_draws(16384, 64), 1000);
}

TEST(Controllers, APrivateQuotaCostsWavesAndOneForAllDoesNot) {
    // Of 7 groups at p = 3/4 at least 4 are valid with probability 0.929: 1.08 waves [simulated].
    EXPECT_NEAR(waves_needed(0.75, 4, 1, false, 1.2, 4000, 1), 1.08, 0.02);
    EXPECT_NEAR(waves_needed(0.75, 4, 64, false, 1.2, 400, 1), 2.27, 0.08);
    EXPECT_NEAR(waves_needed(0.5, 4, 8, false, 1.2, 2000, 1), 1.95, 0.06);
    EXPECT_NEAR(waves_needed(0.3, 4, 512, false, 1.2, 60, 1), 5.29, 0.25);
    EXPECT_NEAR(waves_needed(0.3, 4, 8, true, 1.2, 2000, 1), 1.10, 0.03);
    EXPECT_NEAR(waves_needed(0.5, 4, 512, true, 1.2, 50, 1), 1.0, 1e-9);
}
