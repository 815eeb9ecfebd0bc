#pragma once
// What the ranks of a run tell one another. A rank is one process with a GPU of its own (a thread, in
// tests). All ranks call the same functions in the same order; each call is an op on the calling
// thread's stream (gpu.h), in place, and its sums are made in a fixed order for a number of ranks.

#include "base/tensor.h"

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
};

// The ranks of one NCCL communicator. One rank makes the id, and all get it by some other way (MPI; a
// variable, in tests); all then join, each on its own device.
struct CollectivesId {
    char bytes[128];
};
CollectivesId make_collectives_id();
Collectives join_collectives(const CollectivesId& id, int rank, int ranks);
