#pragma once
// The processes of a run that were started together (mpirun, srun): ranks, each with a GPU of its own or
// with some of the CPU's cores. A binary without MPI is one process (one_process.cpp); one that is built
// with it has mpi/processes.cpp in that place, and is one process where nobody started several.

#include "dist/settings.h"
#include "dist/watchdog.h"
#include "model/model.h"

#include <optional>

struct Processes {
    int rank = 0, ranks = 1;
    int local_rank = 0, local_ranks = 1; // among those on this machine: the number of its GPU
};

// How many processes the launcher says that it started together; 1 without one.
int launched_processes();

// Once, at the beginning and at the end of a command that has not failed. this_process() is what the
// first of them found.
void start_processes();
void stop_processes();
const Processes& this_process();
// Below: one_process.cpp or mpi/.
Processes join_processes();
void leave_processes();
// Every process gets the first one's bytes.
void broadcast_bytes(void* bytes, size_t count);
// Collectives of the CPU's ranks: tensors on the host, sums in the order of the ranks. With one process
// nothing is sent.
Collectives host_collectives();
// to: (ranks) bytes for each; returns what each has for this one. With one process its own.
std::vector<std::string> exchange_bytes(const std::vector<std::string>& to);
// Memory that the ranks of this machine share, zero at first; of this many bytes each. It stands to the
// end.
void* shared_memory(size_t bytes_per_rank);
void* own_memory(size_t bytes); // likewise, of one process
// Ends all processes, this one with the status; waits for nobody.
[[noreturn]] void abort_processes(int status);

// What the processes of a run share, from its start to its end. compute.ranks is set where there are
// several, and at dist.determinism=2.
struct Ranks {
    Ranks(ComputeConfig& compute, const DistSettings& settings);
    Ranks(const Ranks&) = delete;
    ~Ranks();
    int rank() const { return collectives.rank; }
    int count() const { return collectives.ranks; }
    // The first alone writes files and to standard output.
    bool speaks() const { return collectives.rank == 0; }
    // Returns when every rank has called it.
    void wait() const;
    Collectives collectives;

private:
    std::optional<Watchdog> watchdog;
};

// The end of a process that failed: says why, naming the rank where there are several, and returns the
// exit status: 1; of several ranks 3 where training has diverged and 77 where one has failed after the
// start. A fault that all ranks find is told once, by the first.
int report_failure(const char* message);
