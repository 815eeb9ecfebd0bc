#pragma once
// What the ranks of a run tell one another. A rank is one process, with a GPU of its own or some of
// the CPU's cores (a thread, in tests). All ranks call the same functions in the same order; each call
// is an op on the calling thread's stream (gpu.h), in place, and its sums are made in a fixed order for
// a number of ranks.

#include "base/tensor.h"

#include <vector>

struct Collectives {
    int rank = 0, ranks = 1;
    void* group = nullptr; // the library's

    // x is `ranks` equal parts; part number `rank` becomes the sum over the ranks. The rest of x is lost.
    void (*reduce_scatter)(const Collectives&, Tensor x) = nullptr;
    // Every rank gives part number `rank` of x and gets the others'.
    void (*all_gather)(const Collectives&, Tensor x) = nullptr;
    // x becomes the sum over the ranks.
    void (*all_reduce)(const Collectives&, Tensor x) = nullptr;
    void (*close)(Collectives&) = nullptr;

    // The rest is of the host. Every rank's bytes, by rank; null: the ranks have tensors alone in common.
    std::vector<std::string> (*gather)(const Collectives&, const std::string& mine) = nullptr;
    // x: count integers, `ranks` equal parts; part number `rank` becomes the sum, the rest is lost.
    void (*sum_integers)(const Collectives&, int64_t* x, int64_t count) = nullptr;
    // Sums shall be the same bits for any number of ranks (train/order_free.h); also with one rank.
    bool order_free = false;
    bool share_work() const { return ranks > 1 && gather; }
};

// Those of a run of one process, which send nothing.
Collectives one_rank();

// The ranks of one NCCL communicator. One rank makes the id, and all get it by some other way (MPI; a
// variable, in tests); all then join, each on its own device.
struct CollectivesId {
    char bytes[128];
};
CollectivesId make_collectives_id();
Collectives join_collectives(const CollectivesId& id, int rank, int ranks);
