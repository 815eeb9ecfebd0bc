#pragma once
// The processes of a run that were started together (mpirun, srun), one per GPU. A binary without MPI is
// one process (one_process.cpp); one that is built with it has mpi/processes.cpp in that place.

#include "model/model.h"

struct Processes {
    int rank = 0, ranks = 1;
    int local_rank = 0; // among those on this machine: the number of its GPU
};

// Called once, before the first GPU op.
Processes start_processes();
// Every process gets the first one's bytes.
void broadcast_bytes(void* bytes, size_t count);
void stop_processes();

// What the processes of a run share, from its start to its end. With several, each takes the GPU of its
// local rank, and compute.ranks is set; with one, nothing happens.
struct Ranks {
    explicit Ranks(ComputeConfig& compute);
    Ranks(const Ranks&) = delete;
    ~Ranks();
    Collectives collectives;
};
