// Collectives by NCCL, on the calling thread's stream. NCCL's order of sums is fixed by the number of ranks
// and its choice of algorithm, which is the same in every run on the same machines.

#include "context.h"
#include "ops/collectives.h"

#include <cstring>
#include <nccl.h>

namespace gpu {

static void check_nccl(ncclResult_t status, const char* what) {
    CHECK(status == ncclSuccess, "%s: NCCL reports: %s", what, ncclGetErrorString(status));
}

static ncclDataType_t nccl_type(DType dtype) {
    CHECK(dtype == DType::f32 || dtype == DType::f64 || dtype == DType::bf16,
          "no collective sends %s", dtype_name(dtype));
    return dtype == DType::f64 ? ncclDouble : dtype == DType::bf16 ? ncclBfloat16 : ncclFloat;
}

static ncclComm_t comm_of(const Collectives& ranks) { return static_cast<ncclComm_t>(ranks.group); }

// Part `rank` of x.
static Tensor own_part(const char* op, const Collectives& ranks, const Tensor& x) {
    CHECK(x.size() % ranks.ranks == 0, "%s: %s does not divide into %d parts", op,
          shape_text(x).c_str(), ranks.ranks);
    const int64_t count = x.size() / ranks.ranks;
    return x.elements(ranks.rank * count, count);
}

static void reduce_scatter(const Collectives& ranks, Tensor x) {
    const Tensor own = own_part("reduce_scatter", ranks, x);
    check_nccl(ncclReduceScatter(x.data, own.data, (size_t)own.size(), nccl_type(x.dtype), ncclSum,
                                 comm_of(ranks), context().stream),
               "reduce_scatter");
}

static void all_gather(const Collectives& ranks, Tensor x) {
    const Tensor own = own_part("all_gather", ranks, x);
    check_nccl(ncclAllGather(own.data, x.data, (size_t)own.size(), nccl_type(x.dtype),
                             comm_of(ranks), context().stream),
               "all_gather");
}

static void all_reduce(const Collectives& ranks, Tensor x) {
    check_nccl(ncclAllReduce(x.data, x.data, (size_t)x.size(), nccl_type(x.dtype), ncclSum,
                             comm_of(ranks), context().stream),
               "all_reduce");
}

static void close(Collectives& ranks) {
    check_cuda(cudaStreamSynchronize(context().stream), "the last collective");
    check_nccl(ncclCommDestroy(comm_of(ranks)), "ncclCommDestroy");
    ranks.group = nullptr;
}

} // namespace gpu

CollectivesId make_collectives_id() {
    ncclUniqueId made;
    static_assert(sizeof made.internal == sizeof CollectivesId().bytes);
    gpu::check_nccl(ncclGetUniqueId(&made), "ncclGetUniqueId");
    CollectivesId id;
    std::memcpy(id.bytes, made.internal, sizeof id.bytes);
    return id;
}

Collectives join_collectives(const CollectivesId& id, int rank, int ranks) {
    gpu::context(); // the device is selected
    ncclUniqueId given;
    std::memcpy(given.internal, id.bytes, sizeof id.bytes);
    ncclComm_t comm = nullptr;
    gpu::check_nccl(ncclCommInitRank(&comm, ranks, given, rank), "ncclCommInitRank");
    return {rank, ranks, comm, gpu::reduce_scatter, gpu::all_gather, gpu::all_reduce, gpu::close};
}
