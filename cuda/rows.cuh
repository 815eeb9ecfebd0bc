#pragma once
// Attention a row at a time, by a warp, in f32 arithmetic: for every head width
// up to 256 and every element type. The f32 table runs on it, and the bf16
// table where heads are not made of whole 16-byte pieces; tiles (tiles.cuh) are
// what is fast.
//
// Keys are taken 32 at a time, a lane each; sums over them are then made with a
// lane for every 32nd channel.

#include "ragged.cuh"

namespace gpu {

constexpr int row_warps = 4;         // of a block; each has a row of its own
constexpr int widest_head = 256;     // 8 channels per lane
constexpr int channels_per_lane = 8; // d = lane + 32 i

template <class F> __device__ __forceinline__ void each_channel(int D, F f) {
    UNROLL for (int i = 0; i < channels_per_lane; ++i) {
        const int d = threadIdx.x % 32 + 32 * i;
        if (d < D) f(i, d);
    }
}

template <class T> __device__ __forceinline__ float dot_row(const float* a, const T* b, int D) {
    float sum = 0;
    for (int d = 0; d < D; ++d) sum += a[d] * to_float(b[d]);
    return sum;
}

// q: (D) in shared memory, times the scale. keys(j), values(j): row j. Fills y
// (the lane's channels) by online softmax with the m, l and rescale of
// attention.cu, in base e; returns the log of the sum of exp.
template <class F, class G>
__device__ float attend_row(float (&y)[channels_per_lane], const float* q, int D, int limit, F keys,
                            G values) {
    const int lane = threadIdx.x % 32;
    float m = -INFINITY, l = 0;
    UNROLL for (int i = 0; i < channels_per_lane; ++i) y[i] = 0;
    for (int first = 0; first < limit; first += 32) {
        const int count = min(32, limit - first);
        const float score = lane < count ? dot_row(q, keys(first + lane), D) : -INFINITY;
        const float m_before = m;
        m = fmaxf(m, warp_max(score));
        const float p = expf(score - m), rescale = expf(m_before - m);
        l = l * rescale + warp_sum(p);
        UNROLL for (int i = 0; i < channels_per_lane; ++i) y[i] *= rescale;
        for (int j = 0; j < count; ++j) {
            const float pj = __shfl_sync(all_lanes, p, j);
            const auto* v = values(first + j);
            each_channel(D, [&](int i, int d) { y[i] += pj * to_float(v[d]); });
        }
    }
    UNROLL for (int i = 0; i < channels_per_lane; ++i) y[i] /= l;
    return m + logf(l);
}

} // namespace gpu
