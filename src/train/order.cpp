#include "train/order.h"

#include <numeric>

std::vector<int> RowOrder::of_step(int64_t step, int count) {
    std::vector<int> picked;
    for (int64_t p = (step - 1) * count; p < step * count; ++p) {
        if (p / rows != epoch) {
            epoch = p / rows;
            order.resize(rows);
            std::iota(order.begin(), order.end(), 0);
            // mix64: a stream of its own beside the others that start from run.seed
            if (shuffle) Rng(mix64(seed ^ 0x6f72646572), (uint64_t)epoch).shuffle(order);
        }
        picked.push_back(order[p % rows]);
    }
    return picked;
}
