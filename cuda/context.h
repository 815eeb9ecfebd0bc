#pragma once
// Host side of the GPU backend: the install functions of the op files, the calling thread's device with
// its stream, GEMM handle and scratch, error checks, and the check of an argument.
//
// Every op runs on one stream, so ops run one after another and share one scratch block.

#include "ops/gpu.h"

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

namespace gpu {

using bf16 = __nv_bfloat16;

template <class T> void install_memory(Ops& ops);
template <class T> void install_embedding(Ops& ops);
template <class T> void install_linear(Ops& ops);
template <class T> void install_rmsnorm(Ops& ops);
template <class T> void install_residual(Ops& ops);
template <class T> void install_head_norm(Ops& ops);
template <class T> void install_rope(Ops& ops);
template <class T> void install_attention(Ops& ops);
template <class T> void install_decode(Ops& ops);
template <class T> void install_few_rows(Ops& ops);
template <class T> void install_swiglu(Ops& ops);
template <class T> void install_token_logprob(Ops& ops);
template <class T> void install_sample(Ops& ops);
template <class T> void install_adamw(Ops& ops);

constexpr size_t blas_workspace_bytes = 32 << 20; // what the cuBLAS manual recommends for Hopper

struct Context {
    int device = -1;
    cudaStream_t stream = nullptr;
    cublasLtHandle_t blas = nullptr;
    void* blas_workspace = nullptr; // blas_workspace_bytes
    void* scratch = nullptr;
    size_t scratch_bytes = 0;
    int* tickets = nullptr; // (most_tickets), 0 between launches
    int multiprocessors = 0;
    bool overlaps = false;  // a launch may begin before the one before it has ended
    bool recording = false; // between graph_begin and graph_end

    ~Context();
};

// The calling thread's; made at its first use.
Context& context();

// Scratch of the op that is being launched; the next op may overwrite it. 32 MiB are there from the
// start, and more is taken when an op needs more (attention backward and embedding backward of very
// large batches): a step allocates nothing once everything has run at full size.
constexpr size_t first_scratch_bytes = 32 << 20;
void* scratch(size_t bytes);

// Counters by which the blocks of one launch find out which of them is the last to finish; a kernel
// leaves zeros behind.
constexpr int most_tickets = 1 << 16;

// Fails with what CUDA says. `what`: the call or the op.
void check_cuda(cudaError_t status, const char* what);
void check_blas(cublasStatus_t status, const char* what);

template <class T> constexpr DType dtype_of() {
    if constexpr (std::is_same_v<T, bf16>)
        return DType::bf16;
    else
        return ::dtype_of<T>();
}

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

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr size_t most_static_shared = 12 << 10; // bytes of a kernel's __shared__ variables

template <class... Parameters, class... Arguments>
void launch_configured(const char* op, bool overlapped, void (*kernel)(Parameters...), dim3 grid,
                       dim3 block, size_t shared, Arguments... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    // More than 48 KiB must be asked for, the kernel's own __shared__ variables counted; kernels.py looks
    // for kernels that have more of those.
    if (shared > (48 << 10) - most_static_shared)
        check_cuda(
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared),
            op);
    cudaLaunchConfig_t config = {};
    config.gridDim = grid, config.blockDim = block;
    config.dynamicSmemBytes = shared, config.stream = context().stream;
    cudaLaunchAttribute overlap = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    if (overlapped) config.attrs = &overlap, config.numAttrs = 1;
    check_cuda(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), op);
}

// Launches a kernel on the context's stream.
template <class... Parameters, class... Arguments>
void launch(const char* op, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
            Arguments... arguments) {
    launch_configured(op, false, kernel, grid, block, shared, arguments...);
}

// The same for a kernel that calls wait_for_earlier_launches (device.cuh): where the device can, its
// blocks begin while the launch before it comes to its end.
template <class... Parameters, class... Arguments>
void launch_overlapped(const char* op, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                       size_t shared, Arguments... arguments) {
    launch_configured(op, context().overlaps, kernel, grid, block, shared, arguments...);
}

// Kernels move 8 elements per thread and access (16 bytes of bf16, twice 16 of f32) where every row of
// every array begins at a multiple of 16 bytes, and single elements elsewhere.
constexpr int full_width = 8;
template <class... T> bool is_aligned(const T*... arrays) {
    return ((((uintptr_t)arrays & 15) == 0) && ...);
}

// Calls f with the width as a compile-time constant: f(std::integral_constant<int, 8 or 1>).
template <class F> void with_width(bool full, F f) {
    full ? f(std::integral_constant<int, full_width>()) : f(std::integral_constant<int, 1>());
}

} // namespace gpu
