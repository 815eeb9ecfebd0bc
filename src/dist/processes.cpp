#include "dist/processes.h"

#include "ops/gpu.h"

#include <exception>

Ranks::Ranks(ComputeConfig& compute) {
    const Processes own = start_processes();
    if (own.ranks == 1) return;
    CHECK(
        compute.gpu,
        "%d processes were started; several train together on GPUs only (compute.device=cuda, one "
        "GPU each)",
        own.ranks);
    const int gpus = gpu_count();
    CHECK(own.local_rank < gpus,
          "%d or more processes were started on a machine with %d GPUs; start one per GPU",
          own.local_rank + 1, gpus);
    gpu_select(own.local_rank);
    CollectivesId id = {};
    if (own.rank == 0) id = make_collectives_id();
    broadcast_bytes(&id, sizeof id);
    collectives = join_collectives(id, own.rank, own.ranks);
    compute.ranks = &collectives;
}

Ranks::~Ranks() {
    if (collectives.group && !std::uncaught_exceptions()) collectives.close(collectives);
    stop_processes();
}
