#include "train/order.h"

#include <algorithm>
#include <gtest/gtest.h>

static std::vector<int> steps(RowOrder order, int64_t from, int64_t to, int count) {
    std::vector<int> rows;
    for (int64_t step = from; step <= to; ++step)
        for (int row : order.of_step(step, count)) rows.push_back(row);
    return rows;
}

TEST(RowOrder, EveryEpochIsAPermutationOfItsOwn) {
    std::vector<int> rows = steps(RowOrder(12, true, 3), 1, 9, 4); // three epochs
    std::vector<std::vector<int>> epochs;
    for (int e = 0; e < 3; ++e) {
        epochs.push_back({rows.begin() + 12 * e, rows.begin() + 12 * (e + 1)});
        std::vector<int> sorted = epochs.back();
        std::sort(sorted.begin(), sorted.end());
        for (int i = 0; i < 12; ++i) EXPECT_EQ(sorted[i], i);
    }
    EXPECT_NE(epochs[0], epochs[1]);
    EXPECT_NE(epochs[1], epochs[2]);
    EXPECT_NE(epochs[0], steps(RowOrder(12, true, 4), 1, 3, 4)); // another seed
}

TEST(RowOrder, DependsOnTheStepAlone) {
    // 5 rows a step do not divide 12: steps straddle epochs, and one may start anywhere
    std::vector<int> all = steps(RowOrder(12, true, 3), 1, 20, 5);
    std::vector<int> tail = steps(RowOrder(12, true, 3), 8, 20, 5);
    EXPECT_EQ(std::vector<int>(all.begin() + 35, all.end()), tail);
    // rows_per_step changes the cut, not the order
    EXPECT_EQ(all, steps(RowOrder(12, true, 3), 1, 100, 1));
}

TEST(RowOrder, WithoutShuffleTheFilesOrder) {
    EXPECT_EQ(steps(RowOrder(3, false, 9), 1, 2, 4), (std::vector<int>{0, 1, 2, 0, 1, 2, 0, 1}));
}
