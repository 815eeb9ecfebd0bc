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
        const float shift = largest - other;
        const float factor = sum > 0 ? expf(shift) : 1;
        weighted = sum > 0 ? factor * (weighted + sum * shift) : weighted;
        sum *= factor;
        largest = other;
    }
    // Those of other elements added.
    __device__ __forceinline__ void join(RowSoftmax more) {
        if (more.largest > largest)
            move_to(more.largest);
        else
            more.move_to(largest);
        sum += more.sum;
        weighted += more.weighted;
    }
    // shift: t - largest
    __device__ __forceinline__ void add(float shift) {
        const float e = exp2_approximate(shift * log2_e);
        sum += e;
        weighted += e * fmaxf(shift, -200.f); // exp(-inf) (-inf) is 0 here, and e^-200 is 0, too
    }
};

// A row is read in slices; a thread has two pieces of W elements of each.
template <int W> constexpr int slice_width = 2 * row_threads* W;

// The thread's sums over its part of a slice.
template <int W, class T>
__device__ __forceinline__ RowSoftmax slice_softmax(const T* z, int V, float inverse_temperature,
                                                    int slice) {
    const int first = slice * slice_width<W> + threadIdx.x * W;
    Floats<W> x[2] = {};
    float most = -INFINITY;
    UNROLL for (int piece = 0; piece < 2; ++piece) {
        const int v = first + piece * row_threads * W;
        if (v >= V) continue;
        x[piece] = load<W>(z + v);
        UNROLL for (int i = 0; i < W; ++i) most = fmaxf(most, x[piece].v[i]);
    }
    // -infinity: any other number will do as the origin, and NaN must not get lost
    most = most == -INFINITY ? -1e30f : most * inverse_temperature;
    RowSoftmax row = {most, 0, 0};
    UNROLL for (int piece = 0; piece < 2; ++piece) {
        if (first + piece * row_threads * W >= V) continue;
        UNROLL for (int i = 0; i < W; ++i) row.add(x[piece].v[i] * inverse_temperature - most);
    }
    return row;
}

// The row's sums from those of its threads; every thread gets them.
inline __device__ RowSoftmax over_threads(RowSoftmax row) {
    row.move_to(block_max(row.largest));
    row.sum = block_sum(row.sum);
    row.weighted = block_sum(row.weighted);
    return row;
}

// In one pass: a thread joins its parts of the slices in order.
template <int W, class T>
__device__ RowSoftmax row_softmax(const T* z, int V, float inverse_temperature) {
    RowSoftmax row = {-1e30f, 0, 0};
    for (int slice = 0; slice * slice_width<W> < V; ++slice)
        row.join(slice_softmax<W>(z, V, inverse_temperature, slice));
    return over_threads(row);
}

} // namespace gpu
