// Processes by MPI. On CPUs it carries everything; on GPUs what the hosts tell each other, and the
// tensors go by NCCL.

#include "dist/processes.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#define OMPI_SKIP_MPICXX 1 // the old C++ interface
#include <mpi.h>

static MPI_Comm machine = MPI_COMM_NULL; // the ranks of this one

Processes join_processes() {
    Processes own;
    if (launched_processes() <= 1) return own;
    // One-sided communication (dist/board.h): shared memory on one machine, messages between several.
    // Open MPI's own choice, osc/rdma, ends a compare-and-swap of two processes in a crash (4.1.4).
    ::setenv("OMPI_MCA_osc", "sm,pt2pt", 0);
    int threads = 0; // others of this process never call MPI
    CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &threads) == MPI_SUCCESS,
          "MPI could not be started");
    MPI_Comm_rank(MPI_COMM_WORLD, &own.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &own.ranks);
    CHECK(own.ranks == launched_processes(),
          "%d processes were started, but MPI knows of %d; start them by mpirun, or by srun "
          "--mpi=pmix",
          launched_processes(), own.ranks);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, own.rank, MPI_INFO_NULL, &machine);
    // For tests on one machine: so many ranks count as one.
    if (const char* few = std::getenv("RLHF_RANKS_PER_MACHINE")) {
        const MPI_Comm whole = machine;
        MPI_Comm_rank(whole, &own.local_rank);
        MPI_Comm_split(whole, own.local_rank / std::max(1, std::atoi(few)), own.rank, &machine);
    }
    MPI_Comm_rank(machine, &own.local_rank);
    MPI_Comm_size(machine, &own.local_ranks);
    return own;
}

static bool running() {
    int started = 0, ended = 0;
    MPI_Initialized(&started);
    MPI_Finalized(&ended);
    return started && !ended;
}

void* shared_memory(size_t bytes_per_rank) {
    if (!running()) return own_memory(bytes_per_rank);
    void* mine = nullptr;
    MPI_Win window; // stands until MPI ends
    MPI_Win_allocate_shared((MPI_Aint)bytes_per_rank, 1, MPI_INFO_NULL, machine, &mine, &window);
    std::memset(mine, 0, bytes_per_rank);
    MPI_Barrier(machine);
    void* first = nullptr;
    MPI_Aint bytes = 0;
    int unit = 0;
    MPI_Win_shared_query(window, 0, &bytes, &unit, &first); // the ranks' pieces are contiguous
    return first;
}

void broadcast_bytes(void* bytes, size_t count) {
    if (running()) MPI_Bcast(bytes, (int)count, MPI_BYTE, 0, MPI_COMM_WORLD);
}

void leave_processes() {
    if (running()) MPI_Finalize();
}

void abort_processes(int status) {
    if (running()) MPI_Abort(MPI_COMM_WORLD, status);
    std::exit(status);
}
