#pragma once
// What the files of the CPU backend share: their install functions (each fills its part of the table),
// the check of an argument, and scratch memory.

#include "ops/ops.h"

#include <omp.h>

namespace cpu {

template <class T> void install_memory(Ops& ops);
template <class T> void install_embedding(Ops& ops);
template <class T> void install_linear(Ops& ops, DType gemm);
template <class T> void install_rmsnorm(Ops& ops);
template <class T> void install_residual(Ops& ops);
template <class T> void install_head_norm(Ops& ops);
template <class T> void install_rope(Ops& ops);
template <class T> void install_attention(Ops& ops);
template <class T> void install_decode(Ops& ops);
template <class T> void install_swiglu(Ops& ops);
template <class T> void install_token_logprob(Ops& ops);
template <class T> void install_sample(Ops& ops);
template <class T> void install_adamw(Ops& ops);

// The elements of an argument, after its shape and type were checked.
template <class T>
T* arg(const char* op, const char* name, const Tensor& tensor,
       std::initializer_list<int64_t> shape) {
    check_shape(op, name, tensor, shape);
    CHECK(tensor.dtype == dtype_of<T>(), "%s: %s is %s, wanted %s", op, name,
          dtype_name(tensor.dtype), dtype_name(dtype_of<T>()));
    return static_cast<T*>(tensor.data);
}

// The same for an argument that may be left out: null then.
template <class T>
T* optional_arg(const char* op, const char* name, const Tensor& tensor,
                std::initializer_list<int64_t> shape) {
    return tensor ? arg<T>(op, name, tensor, shape) : nullptr;
}

// Calls f(n) for rows n = 0 .. N-1; the threads share them if they are worth waking them for. There is no parallel
// region for one thread: libgomp enters the kernel in each, whatever its team.
template <class F> void each_row(int64_t N, bool worth_sharing, const F& f) {
    if (!worth_sharing || omp_get_max_threads() == 1) {
        for (int64_t n = 0; n < N; ++n) f(n);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < N; ++n) f(n);
}

// Scratch of the calling thread, 64-byte aligned. It only grows, so a step allocates nothing once
// everything has run at full size. A slot's memory is valid until its next use.
enum class Slot { gemm_a, gemm_b, gemm_c, wide_a, wide_b, partial_sums, attention, count };
void* scratch(Slot slot, size_t bytes);

} // namespace cpu
