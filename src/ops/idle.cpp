// Ops that do nothing.

#include "ops/timed.h"

#include <cstring>
#include <sys/mman.h>

namespace {

// Address space without memory behind it until it is written to; the size stands in front.
constexpr size_t page = 4096;

void* promise(size_t bytes) {
    void* memory = mmap(nullptr, bytes + page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    *(size_t*)memory = bytes + page;
    return (char*)memory + page;
}

void release(void* memory) {
    if (!memory) return;
    void* begin = (char*)memory - page;
    munmap(begin, *(size_t*)begin);
}

template <class... A> auto nothing(void (*)(A...)) {
    return +[](A...) {};
}

} // namespace

const Ops& idle_ops(DType dtype) {
    static Ops ops;
    ops = {};
    ops.dtype = dtype;
    ops.alloc = promise;
    ops.free = release;
    ops.upload = [](Tensor device, const void* host) {
        std::memcpy(device.data, host, device.bytes());
    };
    ops.download = [](void* host, Tensor device) {
        std::memcpy(host, device.data, device.bytes());
    };
    ops.packed_bytes = [](int64_t, int64_t, DType) -> size_t { return 0; };
    auto idle = [](auto&... entry) { ((entry = nothing(entry)), ...); };
    idle(ops.fill_zero, ops.copy, ops.embedding_forward, ops.embedding_backward, ops.gather_rows,
         ops.scatter_rows, ops.linear_forward, ops.linear_backward, ops.refresh_weight,
         ops.rmsnorm_forward, ops.rmsnorm_backward, ops.residual_rmsnorm_forward,
         ops.residual_forward, ops.add, ops.head_norm_forward, ops.head_norm_backward,
         ops.rope_forward, ops.rope_backward, ops.attention_forward, ops.attention_backward,
         ops.kv_write, ops.kv_copy, ops.decode_attention, ops.swiglu_forward, ops.swiglu_backward,
         ops.token_logprob_forward, ops.token_logprob_backward, ops.sample, ops.adamw, ops.sumsq);
    return ops;
}
