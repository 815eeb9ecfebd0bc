// NCCL stand-in. Ranks are processes (or threads of one): the unique id names a file in /dev/shm that all
// of them map. A collective is work of a stream in three meetings per piece: all publish their arguments,
// which must agree, and a piece of their elements; all read the others' pieces and write their own
// result; all meet before the next piece. Sums run in the order of the ranks, bf16 rounded at every hop as
// in a ring: the same bits on all ranks and in all runs. A wait has a time limit and says who is missing.

#include <cuda_bf16.h>
#include <nccl.h>

#include "engine.h"

#include <atomic>
#include <ctime>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

constexpr int max_ranks = 16;
constexpr size_t piece_bytes = 256 << 10; // per rank

enum Kind { all_reduce, reduce_scatter, all_gather, broadcast, init };
const char* const kind_names[] = {"AllReduce", "ReduceScatter", "AllGather", "Broadcast",
                                  "CommInitRank"};

struct Arguments {
    Kind kind;
    size_t count;
    ncclDataType_t type;
    int op, root;
    bool operator==(const Arguments&) const = default;
};

// The shared file; fresh pages are zero. `state` guards its own construction.
struct World {
    int state; // 0: new, 1: someone initialises it, 2: ready
    int ranks;
    pthread_mutex_t mutex;
    pthread_cond_t all_came;
    uint64_t meetings;
    unsigned came; // bit per rank
    Arguments arguments[max_ranks];
    alignas(16) char pieces[max_ranks][piece_bytes];
};

int time_limit() { return int(cusim::number_setting("CUSIM_NCCL_TIMEOUT").value_or(60)); }

void open_world(World& world, int ranks) {
    int expected = 0;
    if (__atomic_compare_exchange_n(&world.state, &expected, 1, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        pthread_mutexattr_t mutex;
        pthread_mutexattr_init(&mutex);
        pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
        pthread_mutex_init(&world.mutex, &mutex);
        pthread_condattr_t condition;
        pthread_condattr_init(&condition);
        pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
        pthread_cond_init(&world.all_came, &condition);
        world.ranks = ranks;
        __atomic_store_n(&world.state, 2, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(&world.state, __ATOMIC_ACQUIRE) != 2) usleep(100);
}

} // namespace

struct ncclComm {
    World* world;
    int rank;

    void meet(const char* what) const {
        World& w = *world;
        timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += time_limit();
        pthread_mutex_lock(&w.mutex);
        uint64_t meeting = w.meetings;
        w.came |= 1u << rank;
        if (w.came == (1u << w.ranks) - 1) {
            w.came = 0, ++w.meetings;
            pthread_cond_broadcast(&w.all_came);
        }
        int late = 0;
        while (w.meetings == meeting && !late)
            late = pthread_cond_timedwait(&w.all_came, &w.mutex, &until);
        unsigned came = w.came;
        bool met = w.meetings != meeting;
        pthread_mutex_unlock(&w.mutex);
        if (met) return;
        std::string missing;
        for (int r = 0; r < w.ranks; ++r)
            if (!(came >> r & 1)) missing += " " + std::to_string(r);
        cusim::die("NCCL: rank %d waited %d s in %s for rank%s", rank, time_limit(), what,
                   missing.c_str());
    }
};

namespace {

size_t size_of(ncclDataType_t type) {
    switch (type) {
    case ncclInt8:
    case ncclUint8:
        return 1;
    case ncclBfloat16:
        return 2;
    case ncclInt32:
    case ncclFloat32:
        return 4;
    case ncclInt64:
    case ncclFloat64:
        return 8;
    }
    cusim::die("NCCL: data type %d, which the stand-in does not know", type);
}

// to_i = op over ranks r of piece_r[i]; T is stored, the arithmetic is in C.
template <class T, class C>
void reduce(const World& w, T* to, size_t offset_bytes, size_t count, int op) {
    for (size_t i = 0; i < count; ++i) {
        T sum{};
        for (int r = 0; r < w.ranks; ++r) {
            T x = ((const T*)(w.pieces[r] + offset_bytes))[i];
            C a = C(sum), b = C(x);
            if (r == 0)
                sum = x;
            else
                sum = T(op == ncclMax    ? std::max(a, b)
                        : op == ncclMin  ? std::min(a, b)
                        : op == ncclProd ? C(a * b)
                                         : C(a + b));
        }
        to[i] = op == ncclAvg ? T(C(sum) / C(w.ranks)) : sum;
    }
}

void reduce_any(const World& w, void* to, size_t offset_bytes, size_t count, const Arguments& a) {
    switch (a.type) {
    case ncclFloat32:
        return reduce<float, float>(w, (float*)to, offset_bytes, count, a.op);
    case ncclFloat64:
        return reduce<double, double>(w, (double*)to, offset_bytes, count, a.op);
    case ncclBfloat16:
        return reduce<__nv_bfloat16, float>(w, (__nv_bfloat16*)to, offset_bytes, count, a.op);
    case ncclInt32:
        return reduce<int32_t, int32_t>(w, (int32_t*)to, offset_bytes, count, a.op);
    case ncclInt64:
        return reduce<int64_t, int64_t>(w, (int64_t*)to, offset_bytes, count, a.op);
    default:
        cusim::die("NCCL: %s of data type %d", kind_names[a.kind], a.type);
    }
}

// One piece: `count` elements from element `at` of every rank's own range.
void run_piece(const ncclComm& comm, const Arguments& a, const char* from, char* to, size_t at,
               size_t count) {
    World& w = *comm.world;
    size_t size = size_of(a.type), bytes = count * size;
    char* mine = w.pieces[comm.rank];
    if (a.kind == reduce_scatter)
        for (int r = 0; r < w.ranks; ++r)
            memcpy(mine + r * bytes, from + (r * a.count + at) * size, bytes);
    else if (a.kind != broadcast || comm.rank == a.root)
        memcpy(mine, from + at * size, bytes);
    comm.meet(kind_names[a.kind]);
    switch (a.kind) {
    case all_reduce:
        reduce_any(w, to + at * size, 0, count, a);
        break;
    case reduce_scatter:
        reduce_any(w, to + at * size, comm.rank * bytes, count, a);
        break;
    case all_gather:
        for (int r = 0; r < w.ranks; ++r)
            memcpy(to + (r * a.count + at) * size, w.pieces[r], bytes);
        break;
    case broadcast:
        memcpy(to + at * size, w.pieces[a.root], bytes);
        break;
    case init:
        break;
    }
    comm.meet(kind_names[a.kind]);
}

void run_collective(const ncclComm& comm, const Arguments& a, const char* from, char* to) {
    World& w = *comm.world;
    const char* name = kind_names[a.kind];
    w.arguments[comm.rank] = a;
    comm.meet(name);
    for (int r = 0; r < w.ranks; ++r) {
        const Arguments& b = w.arguments[r];
        if (!(b == a))
            cusim::die("NCCL: rank %d calls %s of %zu elements, rank %d calls %s of %zu elements "
                       "(data types %d, %d; operations %d, %d; roots %d, %d)",
                       comm.rank, name, a.count, r, kind_names[b.kind], b.count, a.type, b.type,
                       a.op, b.op, a.root, b.root);
    }
    comm.meet(name); // the arguments have been read
    size_t share = a.kind == reduce_scatter ? piece_bytes / w.ranks : piece_bytes;
    size_t step = share / 16 * 16 / size_of(a.type);
    for (size_t at = 0; at < a.count; at += step)
        run_piece(comm, a, from, to, at, std::min(step, a.count - at));
    size_t written = a.count * (a.kind == all_gather ? w.ranks : 1) * size_of(a.type);
    if (written) cusim::note_written(to, written);
}

ncclResult_t enqueue(ncclComm_t comm, cudaStream_t stream, const void* from, void* to,
                     Arguments a) {
    size_t n = comm->world->ranks, bytes = a.count * size_of(a.type);
    bool reads = a.kind != broadcast || comm->rank == a.root;
    size_t from_bytes = a.kind == reduce_scatter ? n * bytes : bytes;
    size_t to_bytes = a.kind == all_gather ? n * bytes : bytes;
    if (a.root < 0 || a.root >= int(n)) return ncclInvalidArgument;
    if (bytes &&
        ((reads && !cusim::is_device(from, from_bytes)) || !cusim::is_device(to, to_bytes)))
        return ncclInvalidArgument;
    cusim::enqueue(stream, [=] { run_collective(*comm, a, (const char*)from, (char*)to); });
    return ncclSuccess;
}

std::string path_of(const ncclUniqueId& id) { return std::string("/") + id.internal; }

thread_local int group_depth = 0;

} // namespace

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
    static std::atomic<int> count = 0;
    *id = {};
    snprintf(id->internal, sizeof id->internal, "cusim-nccl-%d-%lld-%d", int(getpid()),
             (long long)time(nullptr), ++count);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank) {
    if (ranks < 1 || ranks > max_ranks || rank < 0 || rank >= ranks) return ncclInvalidArgument;
    int file = shm_open(path_of(id).c_str(), O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, sizeof(World))) return ncclSystemError;
    void* p = mmap(nullptr, sizeof(World), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (p == MAP_FAILED) return ncclSystemError;
    *comm = new ncclComm{(World*)p, rank};
    open_world(*(*comm)->world, ranks);
    if ((*comm)->world->ranks != ranks) return ncclInvalidArgument;
    (*comm)->meet(kind_names[init]);
    shm_unlink(path_of(id).c_str()); // all have it open
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    cusim::finish_all_streams();
    munmap(comm->world, sizeof(World));
    delete comm;
    return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) { return ncclCommDestroy(comm); }
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* error) {
    *error = ncclSuccess;
    return ncclSuccess;
}
ncclResult_t ncclCommCount(const ncclComm_t comm, int* ranks) {
    *ranks = comm->world->ranks;
    return ncclSuccess;
}
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
    *rank = comm->rank;
    return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    return enqueue(comm, stream, from, to, {all_reduce, count, type, op, 0});
}
ncclResult_t ncclReduceScatter(const void* from, void* to, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    return enqueue(comm, stream, from, to, {reduce_scatter, count, type, op, 0});
}
ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
    return enqueue(comm, stream, from, to, {all_gather, count, type, 0, 0});
}
ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
    return enqueue(comm, stream, from, to, {broadcast, count, type, 0, root});
}
// Collectives run in the order of the calls, grouped or not.
ncclResult_t ncclGroupStart() {
    ++group_depth;
    return ncclSuccess;
}
ncclResult_t ncclGroupEnd() { return --group_depth < 0 ? ncclInvalidUsage : ncclSuccess; }

const char* ncclGetErrorString(ncclResult_t result) {
    switch (result) {
    case ncclSuccess:
        return "no error";
    case ncclSystemError:
        return "unhandled system error";
    case ncclInvalidArgument:
        return "invalid argument";
    case ncclInvalidUsage:
        return "invalid usage";
    }
    return "unknown result code";
}
