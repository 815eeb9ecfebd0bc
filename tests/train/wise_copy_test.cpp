#include "train/wise_copy.h"

#include "base/rng.h"
#include "testing.h"

#include <cmath>

// z = (.2, 1, -.5, 0), y = 1, one memory (2, 1, 1) with attention (.1, .6, .3).
TEST(WiseCopy, ProbabilityAndGradientsOfTheVector) {
    const double z[] = {.2, 1, -.5, 0};
    double sum = 0;
    for (double one : z) sum += std::exp(one);
    const std::vector<CopyMemory> memories = {{0, {2, 1, 1}}};
    const MemoryAttention a = {{.1, .6, .3}};
    const Copied c = copied(memories, a, 1);
    EXPECT_NEAR(c.share, .9, 1e-12);
    EXPECT_EQ(c.from, 0);
    const double logp = z[1] - std::log(sum);
    EXPECT_NEAR(std::exp(logp), .490115, 1e-6);
    const MixedLoss mixed = mixed_loss(logp, c.share);
    EXPECT_NEAR(std::exp(-mixed.loss), .695057, 1e-6);
    EXPECT_NEAR(mixed.loss, .363761, 1e-6);
    const double dz[] = {.077644, -.179771, .038557, .063570};
    for (int v = 0; v < 4; ++v)
        EXPECT_NEAR(mixed.dlogp * ((v == 1) - std::exp(z[v]) / sum), dz[v], 1e-6);
    const std::vector<double> da = copied_backward(memories[0], 1, mixed.dc);
    const double want[] = {0, -.719365, -.719365};
    for (int j = 0; j < 3; ++j) EXPECT_NEAR(da[j], want[j], 1e-6);
}

TEST(WiseCopy, TheLargestShareCountsAndTheFirstOfEqualOnes) {
    std::vector<CopyMemory> memories = {{0, {5, 6}}, {2, {6, 6, 7}, 0.5}, {5, {6}, 0.25}};
    const MemoryAttention a = {{.8, .2}, {.3, .5, .2}, {1}};
    EXPECT_NEAR(copied(memories, a, 6).share, .4, 1e-12); // .2, .5 (.3 + .5), .25 1
    EXPECT_EQ(copied(memories, a, 6).from, 1);
    EXPECT_EQ(copied_backward(memories[1], 6, 2), (std::vector<double>{1, 1, 0}));
    EXPECT_EQ(copied(memories, a, 9).share, 0);
    memories[1].weight = memories[2].weight = 0.2;
    EXPECT_EQ(copied(memories, {{.8, .2}, {.5, .5, 0}, {1}}, 6).from, 0);
    EXPECT_NEAR(mixed_loss(-1e4, 0).loss, -std::log(1e-8), 1e-9); // nothing to copy, not written
}

// Each memory's attention is its own distribution, and its gradient is that of central differences.
TEST(WiseCopy, GradientOfTheMemoryAttention) {
    LastAttention last{4, 2, 3, 1 / std::sqrt(3.0), std::vector<double>(7 * 24)};
    Rng rng(3);
    for (double& x : last.qkv) x = rng.normal();
    const std::vector<CopyMemory> memories = {{0, {1, 2, 3}}, {3, {4, 5}}};
    const int row = 6;
    std::vector<std::vector<double>> da = {{.3, -1, .7}, {2, -.4}};
    auto value = [&] {
        double sum = 0;
        const MemoryAttention a = last.attend(row, memories);
        for (size_t m = 0; m < a.size(); ++m)
            for (size_t j = 0; j < a[m].size(); ++j) sum += da[m][j] * a[m][j];
        return sum;
    };
    for (const std::vector<double>& a : last.attend(row, memories)) {
        double sum = 0;
        for (double one : a) sum += one;
        EXPECT_NEAR(sum, 1, 1e-12);
    }
    std::vector<double> dqkv(last.qkv.size(), 0), direction(last.qkv.size());
    for (size_t m = 0; m < memories.size(); ++m) last.backward(row, memories[m], da[m], dqkv);
    for (double& x : direction) x = rng.normal();
    const std::vector<double> at = last.qkv;
    double got = 0;
    for (size_t i = 0; i < at.size(); ++i) got += dqkv[i] * direction[i];
    auto moved = [&](double h) {
        for (size_t i = 0; i < at.size(); ++i) last.qkv[i] = at[i] + h * direction[i];
        return value();
    };
    const double h = 1e-5, want = (moved(h) - moved(-h)) / (2 * h);
    EXPECT_NEAR(got, want, 1e-8 * (1 + std::abs(want)));
    EXPECT_GT(std::abs(want), 1e-3);
}
