#pragma once
// The softmax of one row of logits by one block, as token_logprob and sample both measure it: the same
// function, so the same bits.

#include "device.cuh"

namespace gpu {

constexpr int row_threads = 512; // of a block that works on one row

// With t_v = z_v inverse_temperature, all measured from `largest` = max t.
struct RowSoftmax {
    float largest;
    float sum;      // sum_v exp(t_v - largest)
    float weighted; // sum_v exp(t_v - largest) (t_v - largest)

    __device__ __forceinline__ float log_sum() const { return largest + logf(sum); }
    // log p of one t
    __device__ __forceinline__ float logp(float t) const { return t - largest - logf(sum); }
    // log sum - sum_v p_v t_v
    __device__ __forceinline__ float entropy() const { return logf(sum) - weighted / sum; }

    // The same sums measured from another largest term.
    __device__ __forceinline__ void move_to(float other) {
        const float shift = largest - other; // NaN where nothing was added yet
        const float factor = sum > 0 ? expf(shift) : 1;
        weighted = sum > 0 ? factor * (weighted + sum * shift) : weighted;
        sum *= factor;
        largest = other;
    }
    // shift: t - largest
    __device__ __forceinline__ void add(float shift) {
        const float e = exp2_approximate(shift * log2_e);
        sum += e;
        weighted += e * fmaxf(shift, -200.f); // exp(-inf) (-inf) is 0 here, and e^-200 is 0, too
    }
};

// In one pass: a thread keeps the sums of what it has read, relative to the largest term so far. Every
// thread gets the row's.
template <int W, class T>
__device__ RowSoftmax row_softmax(const T* z, int V, float inverse_temperature) {
    RowSoftmax row = {-INFINITY, 0, 0};
    UNROLL_BY(2) for (int v = threadIdx.x * W; v < V; v += row_threads * W) {
        const Floats<W> x = load<W>(z + v);
        float most = x.v[0];
        UNROLL for (int i = 1; i < W; ++i) most = fmaxf(most, x.v[i]);
        most = fmaxf(most * inverse_temperature, row.largest);
        // -infinity so far: any other number will do as the origin, and NaN must not get lost
        if (most == -INFINITY) most = -1e30f;
        if (most > row.largest) row.move_to(most);
        UNROLL for (int i = 0; i < W; ++i) row.add(x.v[i] * inverse_temperature - row.largest);
    }
    row.move_to(block_max(row.largest));
    row.sum = block_sum(row.sum);
    row.weighted = block_sum(row.weighted);
    return row;
}

} // namespace gpu
