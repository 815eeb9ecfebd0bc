#pragma once
// Which rows a step trains on, as a pure function of the step: a resumed run needs no other state.

#include "base/rng.h"

#include <cstdint>
#include <vector>

// Row p of the run (p = 0, 1, ..) is place p % rows of epoch p / rows; with shuffle, every epoch has a
// permutation of its own, drawn from (seed, epoch).
struct RowOrder {
    RowOrder(int rows_, bool shuffle_, uint64_t seed_)
        : rows(rows_), shuffle(shuffle_), seed(seed_) {}

    // The rows of step 1, 2, .. with `count` rows each.
    std::vector<int> of_step(int64_t step, int count);

private:
    int rows;
    bool shuffle;
    uint64_t seed;
    int64_t epoch = -1; // of `order`
    std::vector<int> order;
};
