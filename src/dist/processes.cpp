#include "dist/processes.h"

#include "base/beat.h"
#include "ops/gpu.h"
#include "train/diverged.h"

#include <cstdlib>
#include <exception>
#include <memory>
#include <omp.h>
#include <unistd.h>

static Processes own;
const Processes& this_process() { return own; }
void start_processes() { own = join_processes(); }
void stop_processes() { leave_processes(); }

int launched_processes() {
    // What Open MPI, MPICH and Slurm tell each process.
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"})
        if (const char* value = std::getenv(name)) return std::atoi(value);
    return 1;
}

// The cores are shared out among the ranks of a machine, unless the launcher has bound each to its own.
static void share_cores(const Processes& processes) {
    const int seen = omp_get_num_procs();
    const bool bound = seen < (int)::sysconf(_SC_NPROCESSORS_ONLN);
    if (std::getenv("OMP_NUM_THREADS")) return;
    omp_set_num_threads(std::max(1, bound ? seen : seen / processes.local_ranks));
}

static void join_gpus(Collectives& collectives) {
    const int gpus = gpu_count();
    CHECK(own.local_rank < gpus,
          "%d or more processes were started on a machine with %d GPUs; start one per GPU",
          own.local_rank + 1, gpus);
    gpu_select(own.local_rank);
    CollectivesId id = {};
    if (own.rank == 0) id = make_collectives_id();
    broadcast_bytes(&id, sizeof id);
    const Collectives host = collectives;
    collectives = join_collectives(id, own.rank, own.ranks);
    collectives.gather = host.gather;
    collectives.sum_integers = host.sum_integers;
}

Ranks::Ranks(ComputeConfig& compute, const DistSettings& settings) {
    const bool order_free = settings.determinism == 2;
    if (own.ranks == 1 && !order_free) return;
    CHECK(!order_free || !compute.gpu,
          "dist.determinism=2 is for the CPU; on GPUs the sums of a step depend on the number of "
          "processes: use dist.determinism=1");
    CHECK(!order_free || compute.gemm == DType::f32,
          "dist.determinism=2 goes with compute.gemm=f32, whose products do not depend on what "
          "else is in a batch");
    collectives = host_collectives();
    if (own.ranks > 1 && compute.gpu) join_gpus(collectives);
    if (own.ranks > 1 && !compute.gpu) share_cores(own);
    collectives.order_free = order_free;
    compute.ranks = &collectives;
    if (own.ranks > 1 && settings.watchdog_seconds > 0) {
        static_assert(
            std::atomic<uint64_t>::is_always_lock_free); // and so of use between processes
        Pulse* pulses = static_cast<Pulse*>(shared_memory(sizeof(Pulse)));
        watchdog.emplace(std::span(pulses, (size_t)own.local_ranks), own.local_rank, own.rank,
                         own.ranks, settings.watchdog_seconds);
    }
}

Ranks::~Ranks() {
    if (collectives.group && !std::uncaught_exceptions()) collectives.close(collectives);
}

void Ranks::wait() const {
    if (collectives.gather) collectives.gather(collectives, "");
}

void* own_memory(size_t bytes) {
    static std::vector<std::unique_ptr<std::vector<uint64_t>>> all;
    all.push_back(std::make_unique<std::vector<uint64_t>>(bytes / 8 + 1, 0));
    return all.back()->data();
}

int report_failure(const char* message) {
    if (own.ranks == 1) {
        std::fprintf(stderr, "error: %s\n", message);
        return 1;
    }
    // What is wrong with the input is wrong everywhere: then the first has ended the others by the time
    // that they would speak.
    if (own.rank > 0) ::sleep(3);
    char host[256] = "?";
    ::gethostname(host, sizeof host - 1);
    const std::string phase = current_phase.load();
    if (own.rank > 0 || phase != "start")
        std::fprintf(stderr, "error: rank %d of %d on %s, at %s%s: %s\n", own.rank, own.ranks, host,
                     phase.c_str(), of_ticket(last_ticket).c_str(), message);
    else
        std::fprintf(stderr, "error: %s\n", message);
    abort_processes(training_diverged ? 3 : phase == "start" && own.rank == 0 ? 1 : 77);
}
