#include "testing.h"

// The known answers of the paper's own library (Random123, kat_vectors, philox4x32 10).
TEST(Philox, EqualsThePublishedVectors) {
    using Four = std::array<uint32_t, 4>;
    EXPECT_EQ(philox({0, 0}, {0, 0, 0, 0}), (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    EXPECT_EQ(philox({0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
              (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(philox({0xa4093822, 0x299f31d0}, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
              (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, StateIsItsFields) {
    Rng a(5, 1);
    for (int i = 0; i < 7; ++i) a.next_u32();
    Rng b = a;
    EXPECT_EQ(a.next_u32(), b.next_u32());
    EXPECT_NE(Rng(5, 2).next_u32(), Rng(5, 1).next_u32());
}

TEST(Rng, MomentsAreRight) {
    Rng rng(1);
    double mean = 0, square = 0, uniform = 0;
    const int n = 100000;
    for (int i = 0; i < n; ++i) {
        double x = rng.normal();
        mean += x / n, square += x * x / n, uniform += rng.uniform() / n;
    }
    EXPECT_NEAR(mean, 0, 0.02); // 6 standard errors
    EXPECT_NEAR(square, 1, 0.03);
    EXPECT_NEAR(uniform, 0.5, 0.006);
}
