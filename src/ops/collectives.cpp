#include "ops/collectives.h"

Collectives one_rank() {
    Collectives ranks;
    ranks.reduce_scatter = ranks.all_gather = ranks.all_reduce = [](const Collectives&, Tensor) {};
    ranks.gather = [](const Collectives&, const std::string& mine) { return std::vector{mine}; };
    ranks.sum_integers = [](const Collectives&, int64_t*, int64_t) {};
    return ranks;
}
