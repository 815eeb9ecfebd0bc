#pragma once
// Attention of training row by row, in f32 arithmetic (rows.cuh): for the f32 table, and for heads that are not
// made of whole 16-byte pieces. The formulas are attention.cu's.

#include "rows.cuh"

namespace gpu {

// y of 4 rows of one head: lanes are keys.   grid: (N / 4, H)
template <class T>
__global__ void __launch_bounds__(32 * row_warps, 4)
    attention_forward_rows_kernel(T* __restrict__ y, float* __restrict__ lse,
                                  const T* __restrict__ qkv, RaggedView ragged, int N, int H, int K,
                                  int D, float scale) {
    __shared__ float queries[row_warps][widest_head];
    const int warp = threadIdx.x / 32, n = blockIdx.x * row_warps + warp, h = blockIdx.y;
    if (n >= N) return; // the whole warp
    const int64_t width = (H + 2 * K) * D;
    float* q = queries[warp];
    each_channel(D, [&](int, int d) { q[d] = to_float(qkv[n * width + h * D + d]) * scale; });
    __syncwarp();
    const Sequence s = sequence_at(ragged, sequence_of_row(ragged, n));
    const T* key = qkv + (H + h / (H / K)) * D;
    const T* value = key + K * D;
    float out[channels_per_lane];
    const float log_sum = attend_row(
        out, q, D, s.limit(s.shared + n - s.begin), [&](int j) { return key + s.row(j) * width; },
        [&](int j) { return value + s.row(j) * width; });
    each_channel(D, [&](int i, int d) { y[((int64_t)n * H + h) * D + d] = from_float<T>(out[i]); });
    if (threadIdx.x % 32 == 0) lse[(int64_t)n * H + h] = log_sum;
}

// dq of one row and head: lanes are keys.
template <class T>
__global__ void __launch_bounds__(32 * row_warps, 4)
    attention_dq_rows_kernel(T* __restrict__ dqkv, const T* __restrict__ dy,
                             const float* __restrict__ delta, const float* __restrict__ lse,
                             const T* __restrict__ qkv, RaggedView ragged, int N, int H, int K,
                             int D, float scale) {
    __shared__ float rows[row_warps][2][widest_head];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int n = blockIdx.x * row_warps + warp, h = blockIdx.y;
    if (n >= N) return;
    const int64_t width = (H + 2 * K) * D, row_head = (int64_t)n * H + h;
    float *q = rows[warp][0], *dy_row = rows[warp][1];
    each_channel(D, [&](int, int d) {
        q[d] = to_float(qkv[n * width + h * D + d]) * scale;
        dy_row[d] = to_float(dy[row_head * D + d]);
    });
    __syncwarp();
    const Sequence s = sequence_at(ragged, sequence_of_row(ragged, n));
    const T* key = qkv + (H + h / (H / K)) * D;
    const T* value = key + K * D;
    const int limit = s.limit(s.shared + n - s.begin);
    float dq[channels_per_lane] = {};
    for (int first = 0; first < limit; first += 32) {
        const int count = min(32, limit - first);
        float ds = 0;
        if (lane < count) {
            const int64_t at = s.row(first + lane) * width;
            const float p = expf(dot_row(q, key + at, D) - lse[row_head]);
            const float dp = dot_row(dy_row, value + at, D);
            ds = p * (dp - delta[row_head]);
        }
        for (int j = 0; j < count; ++j) {
            const float dsj = __shfl_sync(all_lanes, ds, j);
            const T* k = key + s.row(first + j) * width;
            each_channel(D, [&](int i, int d) { dq[i] += dsj * to_float(k[d]); });
        }
    }
    each_channel(D, [&](int i, int d) {
        T* to = dqkv + n * width + h * D + d;
        *to = from_float<T>(to_float(*to) + scale * dq[i]);
    });
}

// dk and dv of one row and key/value head: lanes are queries; first the sequence's own, then those of the
// sequences whose parent it is.
template <class T>
__global__ void __launch_bounds__(32 * row_warps, 4)
    attention_dkv_rows_kernel(T* __restrict__ dqkv, const T* __restrict__ dy,
                              const float* __restrict__ delta, const float* __restrict__ lse,
                              const T* __restrict__ qkv, RaggedView ragged, int N, int H, int K,
                              int D, float scale) {
    __shared__ float rows[row_warps][2][widest_head];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int n = blockIdx.x * row_warps + warp, head = blockIdx.y, group = H / K;
    if (n >= N) return;
    const int64_t width = (H + 2 * K) * D;
    float *k = rows[warp][0], *v = rows[warp][1];
    each_channel(D, [&](int, int d) {
        k[d] = to_float(qkv[n * width + (H + head) * D + d]) * scale;
        v[d] = to_float(qkv[n * width + (H + K + head) * D + d]);
    });
    __syncwarp();
    const int own = sequence_of_row(ragged, n);
    float dk[channels_per_lane] = {}, dv[channels_per_lane] = {};
    for (int other = own; other < ragged.sequences; ++other) {
        if (other != own && (!ragged.parent || ragged.parent[other] != own)) continue;
        const Sequence s = sequence_at(ragged, other);
        // the key's position, and the first own row that sees it
        const int position = other == own ? s.shared + n - s.begin : n - s.parent_begin;
        const int start = other != own || position < s.prefix ? 0 : position - s.shared;
        for (int g = 0; g < group; ++g) {
            const int h = head * group + g;
            for (int first = start; first < s.rows; first += 32) {
                const int count = min(32, s.rows - first);
                float p = 0, ds = 0;
                if (lane < count) {
                    const int64_t row = s.begin + first + lane, row_head = row * H + h;
                    p = expf(dot_row(k, qkv + row * width + h * D, D) - lse[row_head]);
                    const float dp = dot_row(v, dy + row_head * D, D);
                    ds = p * (dp - delta[row_head]);
                }
                for (int i = 0; i < count; ++i) {
                    const float pi = __shfl_sync(all_lanes, p, i);
                    const float dsi = __shfl_sync(all_lanes, ds, i);
                    const int64_t row = s.begin + first + i;
                    const T *q = qkv + row * width + h * D, *dy_row = dy + (row * H + h) * D;
                    each_channel(D, [&](int c, int d) {
                        dk[c] += dsi * to_float(q[d]);
                        dv[c] += pi * to_float(dy_row[d]);
                    });
                }
            }
        }
    }
    each_channel(D, [&](int i, int d) {
        T* to = dqkv + n * width + (H + head) * D + d;
        *to = from_float<T>(to_float(*to) + scale * dk[i]);
        to += K * D;
        *to = from_float<T>(to_float(*to) + dv[i]);
    });
}

// delta = <dy, y> of every row and head: a warp each.
template <class T>
__global__ void __launch_bounds__(128)
    attention_delta_kernel(float* __restrict__ delta, const T* __restrict__ dy,
                           const T* __restrict__ y, int64_t rows, int D) {
    const int64_t row = (int64_t)blockIdx.x * 4 + threadIdx.x / 32;
    if (row >= rows) return;
    float sum = 0;
    for (int d = threadIdx.x % 32; d < D; d += 32)
        sum += to_float(dy[row * D + d]) * to_float(y[row * D + d]);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) delta[row] = sum;
}

} // namespace gpu
