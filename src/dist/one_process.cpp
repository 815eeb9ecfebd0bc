// A binary without MPI is one process, however it was started.

#include "dist/processes.h"

#include <cstdlib>

Processes start_processes() {
    // What Open MPI, MPICH and Slurm tell each process.
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"})
        if (const char* count = std::getenv(name))
            CHECK(
                std::atoi(count) <= 1,
                "%s processes were started, but this binary was built without MPI and would do the "
                "same work %s times; build it with make CUDA=1, or start one process",
                count, count);
    return {};
}

void broadcast_bytes(void*, size_t) {}
void stop_processes() {}
