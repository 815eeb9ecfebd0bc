// Processes by MPI. It carries 128 bytes at the start of a run; the tensors go by NCCL.

#include "dist/processes.h"

#include <exception>
#define OMPI_SKIP_MPICXX 1 // the old C++ interface
#include <mpi.h>

Processes start_processes() {
    CHECK(MPI_Init(nullptr, nullptr) == MPI_SUCCESS, "MPI could not be started");
    Processes own;
    MPI_Comm_rank(MPI_COMM_WORLD, &own.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &own.ranks);
    MPI_Comm machine;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, own.rank, MPI_INFO_NULL, &machine);
    MPI_Comm_rank(machine, &own.local_rank);
    MPI_Comm_free(&machine);
    return own;
}

void broadcast_bytes(void* bytes, size_t count) {
    MPI_Bcast(bytes, (int)count, MPI_BYTE, 0, MPI_COMM_WORLD);
}

void stop_processes() {
    int running = 0;
    MPI_Initialized(&running);
    // A rank that failed must not wait for the others: leaving without MPI_Finalize ends them all.
    if (running && !std::uncaught_exceptions()) MPI_Finalize();
}
