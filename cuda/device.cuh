#pragma once
// What kernels share: vectors of 8 elements that are computed with in f32 whatever they are stored in,
// reductions in a fixed order, dynamic shared memory.

#include "context.h"

#ifdef __CUDACC__
#define UNROLL _Pragma("unroll")
#define PRAGMA(text) _Pragma(#text)
#define UNROLL_BY(n) PRAGMA(unroll n)
#define DYN_SHARED(type, name)                                                                     \
    extern __shared__ __align__(1024) unsigned char dynamic_shared_memory[];                       \
    type* name = reinterpret_cast<type*>(dynamic_shared_memory)
#else
#include "cusim.h"
#define UNROLL
#define UNROLL_BY(n)
#define DYN_SHARED(type, name) CUSIM_DYN_SHARED(type, name)
#endif

namespace gpu {

// 16 and 4 bytes of elements of another type. g++ would take it that they cannot be the same memory.
#ifdef __CUDACC__
using Words = uint4;
using Word = unsigned;
#else
struct __attribute__((may_alias, aligned(16))) Words {
    unsigned x, y, z, w;
};
typedef unsigned __attribute__((may_alias)) Word;
#endif

constexpr unsigned all_lanes = 0xffffffffu;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
template <class T> __device__ __forceinline__ T from_float(float x) {
    if constexpr (std::is_same_v<T, bf16>)
        return __float2bfloat16(x);
    else
        return x;
}

// 2^x, to about 2 ulp; -infinity gives 0.
__device__ __forceinline__ float exp2_approximate(float x) {
#ifdef __CUDACC__
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return exp2f(x);
#endif
}

constexpr float log2_e = 1.4426950408889634f, ln_2 = 0.6931471805599453f;

// 1 / (1 + e^-x), to a few ulp
__device__ __forceinline__ float sigmoid(float x) {
    const float below = 1 + exp2_approximate(-x * log2_e);
#ifdef __CUDACC__
    return __fdividef(1, below);
#else
    return 1 / below;
#endif
}

// ---- order between launches ---------------------------------------------------------------------

// Programmatic dependent launch [CUDA C++ Programming Guide, section 4.5]: a kernel that is launched
// by launch_overlapped may run beside the one before it. It
// - reads what a kernel of the same step writes, and writes anything, after this call alone; before
//   it may read weights and what the host uploaded for the step;
// - says early that the next may begin, which it does when all blocks have said so or ended;
// - takes pointers to what other kernels of the step write without `const __restrict__`: the compiler
//   may read through such a pointer before the call.
// Every kernel of the chain calls it: so its end says that all before it have ended, too.
__device__ __forceinline__ void wait_for_earlier_launches() {
#ifdef __CUDACC__
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
#else
    cusim::note_launches_waited_for();
#endif
}
__device__ __forceinline__ void let_next_launch_begin() {
#if defined(__CUDACC__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Called by all threads of a block that has written its share; true in the block that comes last of
// `blocks`, which sees what the others wrote (past L1: __ldcg) and has put the ticket back.
__device__ __forceinline__ bool is_last_block(int* ticket, int blocks) {
    __shared__ bool last;
    __syncthreads();
    if (threadIdx.x == 0) { // its fences are the block's, by the barriers before and behind
        __threadfence();
        last = atomicAdd(ticket, 1) == blocks - 1;
        if (last) atomicExch(ticket, 0);
        __threadfence();
    }
    __syncthreads();
#ifndef __CUDACC__
    if (last) cusim::note_blocks_seen();
#endif
    return last;
}

// ---- vectors ------------------------------------------------------------------------------------

template <int W> struct Floats { float v[W]; };

// Two bf16 of a 32-bit word: the lower half is the first.
__device__ __forceinline__ float low_half(unsigned word) { return __uint_as_float(word << 16); }
__device__ __forceinline__ float high_half(unsigned word) {
    return __uint_as_float(word & 0xffff0000u);
}
__device__ __forceinline__ unsigned pack_halves(float low, float high) {
    return (unsigned)__bfloat16_as_ushort(__float2bfloat16(low)) |
           (unsigned)__bfloat16_as_ushort(__float2bfloat16(high)) << 16;
}

template <int W> __device__ __forceinline__ Floats<W> load(const float* from) {
    Floats<W> x;
    if constexpr (W == 1) {
        x.v[0] = *from;
    } else {
        UNROLL for (int i = 0; i < W; i += 4) {
            const float4 part = *reinterpret_cast<const float4*>(from + i);
            x.v[i] = part.x, x.v[i + 1] = part.y, x.v[i + 2] = part.z, x.v[i + 3] = part.w;
        }
    }
    return x;
}
template <int W> __device__ __forceinline__ Floats<W> load(const bf16* from) {
    Floats<W> x;
    if constexpr (W == 1) {
        x.v[0] = __bfloat162float(*from);
    } else {
        const Words words = *reinterpret_cast<const Words*>(from);
        x.v[0] = low_half(words.x), x.v[1] = high_half(words.x);
        x.v[2] = low_half(words.y), x.v[3] = high_half(words.y);
        x.v[4] = low_half(words.z), x.v[5] = high_half(words.z);
        x.v[6] = low_half(words.w), x.v[7] = high_half(words.w);
    }
    return x;
}
template <int W> __device__ __forceinline__ void store(float* to, const Floats<W>& x) {
    if constexpr (W == 1) {
        *to = x.v[0];
    } else {
        UNROLL for (int i = 0; i < W; i += 4) * reinterpret_cast<float4*>(to + i) =
            make_float4(x.v[i], x.v[i + 1], x.v[i + 2], x.v[i + 3]);
    }
}
template <int W> __device__ __forceinline__ void store(bf16* to, const Floats<W>& x) {
    if constexpr (W == 1) {
        *to = __float2bfloat16(x.v[0]);
    } else {
        *reinterpret_cast<Words*>(to) =
            Words{pack_halves(x.v[0], x.v[1]), pack_halves(x.v[2], x.v[3]),
                  pack_halves(x.v[4], x.v[5]), pack_halves(x.v[6], x.v[7])};
    }
}

// ---- reductions ---------------------------------------------------------------------------------

// Over groups of `width` neighbouring lanes (a power of two); every lane gets the sum.
template <class T> __device__ __forceinline__ T warp_sum(T x, int width = 32) {
    for (int step = width / 2; step > 0; step /= 2) x += __shfl_xor_sync(all_lanes, x, step);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
    for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(all_lanes, x, step));
    return x;
}

// Over the block, a multiple of 32 threads; every thread gets the result. Sums add the warps in order.
template <class T> __device__ T block_sum(T x) {
    __shared__ T part[32];
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    T sum = 0;
    for (int warp = 0; warp < (int)blockDim.x / 32; ++warp) sum += part[warp];
    __syncthreads(); // part may be written again
    return sum;
}
inline __device__ float block_max(float x) {
    __shared__ float part[32];
    x = warp_max(x);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    float most = part[0];
    for (int warp = 1; warp < (int)blockDim.x / 32; ++warp) most = fmaxf(most, part[warp]);
    __syncthreads();
    return most;
}

} // namespace gpu
