#pragma once
// Host stand-in for the CUDA runtime: a .cu file includes it in place of the toolkit's header when g++
// compiles the kernels (-x c++). Only what the project uses is here; a mistake that nvcc would accept
// shows in the engine (tests/cuda_on_cpu), one that g++ accepts and CUDA does not shows with nvcc.

#include "cusim.h"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <tuple>
#include <type_traits>

#define CUDART_VERSION 13000
#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// The engine runs one block at a time, so static memory is shared memory; and it has ASan's red zones.
#define __shared__ static
#define CUSIM_DYN_SHARED(T, name) T* name = reinterpret_cast<T*>(cusim::dynamic_shared)
#define CUSIM_HIDDEN __attribute__((noinline, no_sanitize("thread"))) // from the access checker

// ---- vector types -----------------------------------------------------------------------------------
#define CUSIM_VECTORS(T, name, size)                                                               \
    struct __align__(size * 2) name##2 {                                                           \
        T x, y;                                                                                    \
    };                                                                                             \
    struct __align__(size * 4) name##4 {                                                           \
        T x, y, z, w;                                                                              \
    };                                                                                             \
    constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }                                  \
    constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
CUSIM_VECTORS(float, float, 4)
CUSIM_VECTORS(int, int, 4)
CUSIM_VECTORS(unsigned, uint, 4)
CUSIM_VECTORS(unsigned short, ushort, 2)
#undef CUSIM_VECTORS
struct float3 {
    float x, y, z;
};
struct int3 {
    int x, y, z;
};
struct __align__(16) double2 {
    double x, y;
};
constexpr double2 make_double2(double x, double y) { return {x, y}; }

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
};

// ---- in kernels: index, barriers, warp functions ----------------------------------------------------
// Real variables: macros would break the members of cudaLaunchConfig_t that have the same names.
extern thread_local constinit uint3 threadIdx, blockIdx;
extern thread_local constinit dim3 blockDim, gridDim;
constexpr int warpSize = 32;

inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    cusim::block_meet(file, line);
}
inline int __syncthreads_or(int vote, const char* file = __builtin_FILE(),
                            int line = __builtin_LINE()) {
    return cusim::block_meet(file, line, vote) > 0;
}
inline int __syncthreads_and(int vote, const char* file = __builtin_FILE(),
                             int line = __builtin_LINE()) {
    return cusim::block_meet(file, line, !vote) == 0;
}
inline int __syncthreads_count(int vote, const char* file = __builtin_FILE(),
                               int line = __builtin_LINE()) {
    return cusim::block_meet(file, line, vote);
}
inline void __syncwarp(unsigned mask = ~0u) { cusim::warp_meet(mask, "", 1, true); }
inline void __threadfence() {}
inline void __threadfence_block() {}

namespace cusim {
// What the lane `from` posts; the own value where `from` is outside of the segment of `width` lanes.
template <class T> T shuffle(unsigned mask, T value, int from, int width) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "CUDA shuffles 4 or 8 bytes");
    Posts posts = warp_meet(mask, &value, sizeof value);
    if (from < 0 || from / width != self->lane / width) return value;
    if (!(mask >> from & 1))
        die("lane %d shuffles from lane %d, which is not in its mask", self->lane, from);
    memcpy(&value, posts[from], sizeof value);
    return value;
}
template <class T, class F> T warp_reduce(unsigned mask, T value, F f) {
    Posts posts = warp_meet(mask, &value, sizeof value);
    bool first = true;
    for (int lane = 0; lane < 32; ++lane) {
        if (!(mask >> lane & 1)) continue;
        T x;
        memcpy(&x, posts[lane], sizeof x);
        value = first ? x : f(value, x), first = false;
    }
    return value;
}
} // namespace cusim

template <class T> T __shfl_sync(unsigned mask, T v, int from, int width = 32) {
    return cusim::shuffle(mask, v, (cusim::self->lane & -width) + (from & (width - 1)), width);
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) {
    return cusim::shuffle(mask, v, cusim::self->lane ^ bits, width);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, int by, int width = 32) {
    return cusim::shuffle(mask, v, cusim::self->lane + by, width);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, int by, int width = 32) {
    return cusim::shuffle(mask, v, cusim::self->lane - by, width);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    unsigned bit = unsigned(predicate != 0) << cusim::self->lane;
    return cusim::warp_reduce(mask, bit, [](unsigned a, unsigned b) { return a | b; });
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) {
    return __ballot_sync(mask, predicate) == mask;
}
template <class T>
requires std::same_as<T, int> || std::same_as<T, unsigned> T __reduce_add_sync(unsigned mask, T v) {
    return cusim::warp_reduce(mask, v, [](T a, T b) { return T(unsigned(a) + unsigned(b)); });
}
template <class T>
requires std::same_as<T, int> || std::same_as<T, unsigned> T __reduce_max_sync(unsigned mask, T v) {
    return cusim::warp_reduce(mask, v, [](T a, T b) { return a < b ? b : a; });
}

// ---- in kernels: atomics ----------------------------------------------------------------------------
namespace cusim {
template <class T>
concept Atomic = std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, float> ||
    std::same_as<T, unsigned long long> || std::same_as<T, double>;
// One thread runs at a time, so a plain read and write are atomic.
template <class T, class F> CUSIM_HIDDEN T read_modify_write(T* p, F f) {
    note_atomic(p, sizeof(T));
    T old = *p;
    *p = f(old);
    return old;
}
} // namespace cusim
template <cusim::Atomic T> T atomicAdd(T* p, std::type_identity_t<T> v) {
    return cusim::read_modify_write(p, [v](T old) { return T(old + v); });
}
template <cusim::Atomic T>
requires std::integral<T> T atomicMax(T* p, std::type_identity_t<T> v) {
    return cusim::read_modify_write(p, [v](T old) { return old < v ? v : old; });
}
template <cusim::Atomic T>
requires std::integral<T> T atomicMin(T* p, std::type_identity_t<T> v) {
    return cusim::read_modify_write(p, [v](T old) { return v < old ? v : old; });
}
template <cusim::Atomic T> T atomicExch(T* p, std::type_identity_t<T> v) {
    return cusim::read_modify_write(p, [v](T) { return v; });
}
template <cusim::Atomic T>
requires std::integral<T> T atomicCAS(T* p, std::type_identity_t<T> expected,
                                      std::type_identity_t<T> v) {
    return cusim::read_modify_write(p, [=](T old) { return old == expected ? v : old; });
}

// ---- in kernels: memory and arithmetic --------------------------------------------------------------
template <class T> T __ldg(const T* p) { return *p; }
template <class T> T __ldcs(const T* p) { return *p; }
template <class T> T __ldcg(const T* p) { return *p; }
template <class T> void __stcs(T* p, T v) { *p = v; }
template <class T> void __stcg(T* p, T v) { *p = v; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1 / x; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline void sincospif(float x, float* s, float* c) {
    *s = sinf(float(M_PI) * x), *c = cosf(float(M_PI) * x);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return uint64_t(a) * b >> 32; }
inline unsigned __float_as_uint(float f) { return __builtin_bit_cast(unsigned, f); }
inline int __float_as_int(float f) { return __builtin_bit_cast(int, f); }
inline float __uint_as_float(unsigned u) { return __builtin_bit_cast(float, u); }
inline float __int_as_float(int i) { return __builtin_bit_cast(float, i); }
using std::max;
using std::min;

// ---- host API: types --------------------------------------------------------------------------------
enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorNotReady = 600,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorStreamCaptureImplicit = 906,
    cudaErrorIllegalState = 401,
};
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr {
    cudaDevAttrClockRate = 13,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrMemoryClockRate = 36,
    cudaDevAttrGlobalMemoryBusWidth = 37,
    cudaDevAttrL2CacheSize = 38,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal,
    cudaStreamCaptureModeThreadLocal,
    cudaStreamCaptureModeRelaxed
};
constexpr unsigned cudaStreamDefault = 0, cudaStreamNonBlocking = 1;
constexpr unsigned cudaEventDefault = 0, cudaEventDisableTiming = 2;
typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;
typedef struct CUgraph_st* cudaGraph_t;
typedef struct CUgraphExec_st* cudaGraphExec_t;
enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization = 6 };
union cudaLaunchAttributeValue {
    int programmaticStreamSerializationAllowed;
};
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    cudaLaunchAttributeValue val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute* attrs;
    unsigned numAttrs;
};
struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin;
    int major, minor, multiProcessorCount, warpSize, maxThreadsPerBlock, l2CacheSize,
        memoryBusWidth;
};

// ---- host API: functions ----------------------------------------------------------------------------
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
const char* cudaGetErrorString(cudaError_t error);
const char* cudaGetErrorName(cudaError_t error);

cudaError_t cudaMalloc(void** p, size_t bytes);
cudaError_t cudaFree(void* p);
cudaError_t cudaMallocHost(void** p, size_t bytes);
cudaError_t cudaFreeHost(void* p);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = nullptr);
cudaError_t cudaMemset(void* p, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream = nullptr);
template <class T> cudaError_t cudaMalloc(T** p, size_t bytes) {
    return cudaMalloc((void**)p, bytes);
}
template <class T> cudaError_t cudaMallocHost(T** p, size_t bytes) {
    return cudaMallocHost((void**)p, bytes);
}

cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph,
                                 unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

// ---- launch -----------------------------------------------------------------------------------------
namespace cusim {
cudaError_t allow_dynamic_shared(const void* kernel, int bytes);
// What every thread of a grid does: run(arguments), with copies of the arguments made at the launch.
struct Call {
    void (*run)(const void* arguments);
    std::shared_ptr<const void> arguments;
    size_t bytes;
};
cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, Call call);
} // namespace cusim

template <class F> cudaError_t cudaFuncSetAttribute(F* kernel, cudaFuncAttribute, int value) {
    return cusim::allow_dynamic_shared((const void*)kernel, value);
}
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
    struct Copies {
        void (*kernel)(Parameters...);
        std::tuple<std::decay_t<Parameters>...> values;
    };
    auto copies = std::make_shared<Copies>(Copies{kernel, {std::forward<Arguments>(arguments)...}});
    auto run = [](const void* p) {
        const Copies& c = *static_cast<const Copies*>(p);
        std::apply(c.kernel, c.values);
    };
    return cusim::launch(*config, (const void*)kernel, {run, copies, sizeof(Copies)});
}
template <class F>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, F, int, size_t) {
    *blocks = 2;
    return cudaSuccess;
}
