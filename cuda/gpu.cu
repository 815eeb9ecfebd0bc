// The GPU backend: its tables, put together from what each op file installs, and the calling thread's
// device.

#include "device.cuh"

namespace gpu {

constexpr int oldest_major = 8; // sm_80: bf16 on tensor cores, asynchronous copies

void check_cuda(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    cudaGetLastError(); // so that the next call does not report it again
    if (status == cudaErrorMemoryAllocation)
        fail("%s: out of GPU memory; lower tokens_per_micro_batch or sample.batch, or set "
             "compute.recompute=true",
             what);
    fail("%s: the GPU reports: %s", what, cudaGetErrorString(status));
}

void check_blas(cublasStatus_t status, const char* what) {
    CHECK(status == CUBLAS_STATUS_SUCCESS, "%s: cuBLAS reports status %d", what, (int)status);
}

static int count_devices() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) cudaGetLastError();
    CHECK(status != cudaErrorInsufficientDriver,
          "there is no NVIDIA driver, or it is too old for CUDA %d.%d; install a newer one, or set "
          "compute.device=cpu",
          CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    CHECK(status != cudaErrorNoDevice && (status != cudaSuccess || count > 0),
          "there is no GPU here; set compute.device=cpu");
    check_cuda(status, "looking for GPUs");
    return count;
}

static thread_local int selected = 0;

static GpuInfo device_info(int device) {
    cudaDeviceProp properties;
    check_cuda(cudaGetDeviceProperties(&properties, device), "asking for the GPU's properties");
    return {properties.name,
            properties.major,
            properties.minor,
            properties.multiProcessorCount,
            (double)properties.totalGlobalMem,
            0};
}

static void open(Context& gpu) {
    const int count = count_devices();
    CHECK(selected < count, "GPU %d was asked for, but there are %d (counted from 0)", selected,
          count);
    const GpuInfo info = device_info(selected);
    CHECK(info.major >= oldest_major,
          "the GPU %s has compute capability %d.%d; this program needs %d.0 or later (Ampere); set "
          "compute.device=cpu",
          info.name.c_str(), info.major, info.minor, oldest_major);
    check_cuda(cudaSetDevice(selected), "cudaSetDevice");
    check_cuda(cudaStreamCreateWithFlags(&gpu.stream, cudaStreamNonBlocking), "cudaStreamCreate");
    check_cuda(cudaMalloc(&gpu.blas_workspace, blas_workspace_bytes), "GEMM workspace");
    check_cuda(cudaMalloc(&gpu.scratch, first_scratch_bytes), "scratch");
    gpu.scratch_bytes = first_scratch_bytes;
    check_cuda(cudaMalloc(&gpu.tickets, most_tickets * sizeof(int)), "tickets");
    check_cuda(cudaMemsetAsync(gpu.tickets, 0, most_tickets * sizeof(int), gpu.stream), "tickets");
    gpu.multiprocessors = info.multiprocessors;
    gpu.overlaps = info.major >= 9;
    check_blas(cublasLtCreate(&gpu.blas), "cublasLtCreate");
    gpu.device = selected;
}

// Nothing is reported from here: the process, or the rank's thread, is at its end.
Context::~Context() {
    if (!stream) return;
    cudaStreamSynchronize(stream);
    if (blas) cublasLtDestroy(blas);
    cudaFree(blas_workspace);
    cudaFree(scratch);
    cudaFree(tickets);
    cudaStreamDestroy(stream);
}

static thread_local Context of_thread;

Context& context() {
    if (of_thread.device < 0) open(of_thread);
    return of_thread;
}

void* scratch(size_t bytes) {
    Context& gpu = context();
    if (bytes <= gpu.scratch_bytes) return gpu.scratch;
    CHECK(!gpu.recording,
          "%zu bytes of scratch are needed while launches are recorded in a graph; "
          "there are %zu",
          bytes, gpu.scratch_bytes);
    const size_t size = (bytes + (2 << 20) - 1) >> 21 << 21;
    check_cuda(cudaStreamSynchronize(gpu.stream), "scratch");
    check_cuda(cudaFree(gpu.scratch), "scratch");
    gpu.scratch = nullptr, gpu.scratch_bytes = 0;
    check_cuda(cudaMalloc(&gpu.scratch, size), "scratch");
    gpu.scratch_bytes = size;
    return gpu.scratch;
}

template <class T> static Ops table() {
    Ops ops = {};
    ops.dtype = dtype_of<T>();
    install_memory<T>(ops);
    install_embedding<T>(ops);
    install_linear<T>(ops);
    install_rmsnorm<T>(ops);
    install_residual<T>(ops);
    install_head_norm<T>(ops);
    install_rope<T>(ops);
    install_attention<T>(ops);
    install_decode<T>(ops);
    install_few_rows<T>(ops);
    install_swiglu<T>(ops);
    install_token_logprob<T>(ops);
    install_sample<T>(ops);
    install_adamw<T>(ops);
    return ops;
}

} // namespace gpu

bool gpu_in_build() { return true; }

int gpu_count() { return gpu::count_devices(); }

void gpu_select(int device) {
    CHECK(gpu::of_thread.device < 0 || gpu::of_thread.device == device,
          "the thread works on GPU %d already; it cannot change to %d", gpu::of_thread.device,
          device);
    CHECK(device >= 0, "a GPU's number is at least 0, not %d", device);
    gpu::selected = device;
}

GpuInfo gpu_info() {
    GpuInfo info = gpu::device_info(gpu::context().device);
    size_t free = 0, total = 0;
    gpu::check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    info.memory_bytes = (double)total, info.free_bytes = (double)free;
    return info;
}

void* gpu_stream() { return gpu::context().stream; }

size_t gpu_scratch_bytes() {
    return gpu::blas_workspace_bytes +
           std::max(gpu::of_thread.scratch_bytes, gpu::first_scratch_bytes);
}

const Ops& gpu_ops(DType dtype) {
    gpu::context();
    if (dtype == DType::bf16) {
        static const Ops ops = gpu::table<gpu::bf16>();
        return ops;
    }
    CHECK(dtype == DType::f32, "the GPU has ops in f32 and bf16, not in %s", dtype_name(dtype));
    static const Ops ops = gpu::table<float>();
    return ops;
}
