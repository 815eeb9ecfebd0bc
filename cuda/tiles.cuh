#pragma once
// Attention on tensor cores in pieces: bf16 in and f32 sums, for heads of up to
// 128 channels in whole 16-byte pieces. A block owns a tile of 64 rows, a warp
// 16 of them; tiles of the other side are copied to shared memory one ahead
// while a tile is worked on. attention.cu and decode.cu put the pieces
// together.
//
// A tile row takes D + 8 elements of shared memory: the 8 rows of an ldmatrix
// then lie in different banks. D is the head width rounded up to 32, 64, 96 or
// 128; channels past the real width are zero.
//
// Exponentials have base 2: the GPU has one instruction for 2^x (ex2) and none
// for e^x. Scores are multiplied by log2 e together with the softmax scale, and
// 2^(score log2 e) is e^score.

#include "mma.cuh"
#include "ragged.cuh"

namespace gpu {

constexpr int tile_rows = 64; // of the tile that a block owns: 4 warps of 16
constexpr int tile_threads = 128;

template <int D> constexpr int stride = D + 8;
template <int D, int rows> constexpr int tile_size = rows* stride<D>;

// c (16, 8 M) = a b^T over D channels: rows of `a` and of `b` in shared memory,
// of M 8-row pieces of b.
template <int D, int M>
__device__ __forceinline__ void multiply_rows(float (&c)[M][4], const bf16* a, const bf16* b) {
    const int lane = threadIdx.x % 32;
    UNROLL for (int m = 0; m < M; ++m) UNROLL for (int i = 0; i < 4; ++i) c[m][i] = 0;
    UNROLL for (int d = 0; d < D; d += 16) {
        unsigned left[4];
        ldmatrix_x4<false>(left, a + lane % 16 * stride<D> + d + lane / 16 * 8);
        UNROLL for (int m = 0; m < M; m += 2) {
            unsigned right[4];
            const int row = m * 8 + lane / 16 * 8 + lane % 8;
            ldmatrix_x4<false>(right, b + row * stride<D> + d + lane / 8 % 2 * 8);
            mma16816(c[m], left, right[0], right[1]);
            mma16816(c[m + 1], left, right[2], right[3]);
        }
    }
}

// sum (16, D) += c b for c (16, 8 M) in registers, rounded to bf16, and the 8 M
// rows of b.
template <int D, int M>
__device__ __forceinline__ void add_product(float (&sum)[D / 8][4], const float (&c)[M][4],
                                            const bf16* b) {
    const int lane = threadIdx.x % 32;
    UNROLL for (int m = 0; m < M; m += 2) {
        const unsigned left[4] = {pack_halves(c[m][0], c[m][1]), pack_halves(c[m][2], c[m][3]),
                                  pack_halves(c[m + 1][0], c[m + 1][1]),
                                  pack_halves(c[m + 1][2], c[m + 1][3])};
        UNROLL for (int d = 0; d < D; d += 16) {
            unsigned right[4];
            ldmatrix_x4<true>(right, b + (m * 8 + lane % 16) * stride<D> + d + lane / 16 * 8);
            mma16816(sum[d / 8], left, right[0], right[1]);
            mma16816(sum[d / 8 + 1], left, right[2], right[3]);
        }
    }
}

// Starts copying `rows` rows to a tile. row(i): the i-th row's element 0 in
// global memory, or null for zeros.
template <int D, class F>
__device__ __forceinline__ void copy_tile(AsyncCopies& copies, bf16* tile, int rows, int width,
                                          const bf16* anywhere, F row) {
    for (int i = threadIdx.x; i < rows * (D / 8); i += tile_threads) {
        const int r = i / (D / 8), d = i % (D / 8) * 8;
        const bf16* from = d < width ? row(r) : nullptr;
        copies.copy16(tile + r * stride<D> + d, from ? from + d : anywhere, from != nullptr);
    }
}

// Online softmax of 16 rows of scores over one more tile of keys [Dao 2023,
// algorithm 1], in base 2: c becomes P = 2^(scale c - m); of rows g and g + 8,
// which the thread shares with three others,
//   m        is the largest score so far
//   l        the thread's share of the sum of 2^(score - m) so far
//   rescale  = 2^(m_before - m), by which l and y shrink when m grows
// Columns from limit[r] on are not seen.
template <int D, int M>
__device__ __forceinline__ void
online_softmax(float (&c)[M][4], float (&y)[D / 8][4], float (&m)[2], float (&l)[2],
               float scale_log2, bool masked, const int (&limit)[2], int first_column) {
    const int column = first_column + threadIdx.x % 4 * 2;
    UNROLL for (int r = 0; r < 2; ++r) {
        float most = -INFINITY;
        UNROLL for (int j = 0; j < M; ++j) UNROLL for (int i = 2 * r; i < 2 * r + 2; ++i) {
            const bool seen = !masked || column + j * 8 + i % 2 < limit[r];
            c[j][i] = seen ? c[j][i] * scale_log2 : -INFINITY;
            most = fmaxf(most, c[j][i]);
        }
        most = fmaxf(most, __shfl_xor_sync(all_lanes, most, 1));
        most = fmaxf(most, __shfl_xor_sync(all_lanes, most, 2));
        most = fmaxf(most, m[r]);
        const float origin = most == -INFINITY ? 0 : most; // nothing seen yet
        const float rescale = exp2_approximate(m[r] - origin);
        m[r] = most;
        l[r] *= rescale;
        UNROLL for (int j = 0; j < M; ++j) UNROLL for (int i = 2 * r; i < 2 * r + 2; ++i) {
            c[j][i] = exp2_approximate(c[j][i] - origin);
            l[r] += c[j][i];
        }
        UNROLL for (int d = 0; d < D / 8; ++d) {
            y[d][2 * r] *= rescale;
            y[d][2 * r + 1] *= rescale;
        }
    }
}

// A row's sum over the 4 threads that share it.
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(all_lanes, x, 1);
    return x + __shfl_xor_sync(all_lanes, x, 2);
}

// The thread's two neighbouring channels of row g (r = 0) or g + 8 (r = 1):
// f(channel, first, second).
template <int D, class F>
__device__ __forceinline__ void each_pair(const float (&sum)[D / 8][4], int r, int width, F f) {
    UNROLL for (int m = 0; m < D / 8; ++m) {
        const int d = m * 8 + threadIdx.x % 4 * 2;
        if (d < width) f(d, sum[m][2 * r], sum[m][2 * r + 1]);
    }
}
__device__ __forceinline__ void add_pair(bf16* to, float first, float second) {
    Word* word = reinterpret_cast<Word*>(to);
    *word = pack_halves(low_half(*word) + first, high_half(*word) + second);
}

// work(at, buffer) for every place from `at` on, while copies of the next one's
// tiles are under way to the other of two buffers; copy(at, 0) for the first
// has been called. Place: done(), next()
template <class Place, class Copy, class Work>
__device__ __forceinline__ void double_buffered(AsyncCopies& copies, Place at, Copy copy,
                                                Work work) {
    Place ahead = at;
    for (int buffer = 0; !at.done(); buffer = 1 - buffer) {
        ahead.next();
        if (!ahead.done()) {
            copy(ahead, 1 - buffer);
            copies.wait<1>();
        } else {
            copies.wait<0>();
        }
        __syncthreads();
        work(at, buffer);
        __syncthreads(); // the copy after the next overwrites this buffer
        at = ahead;
    }
}

// Tiles of keys, by number.
struct KeyTiles {
    int t, count;
    __device__ __forceinline__ bool done() const { return t >= count; }
    __device__ __forceinline__ void next() { ++t; }
};

// Calls f with the tile width for heads of D channels, if tiles can do them.
template <class T, class F, class... A> bool with_tiles(int D, F f, const A*... arrays) {
    if (!std::is_same_v<T, bf16> || D % 8 != 0 || D > 128 || !is_aligned(arrays...)) return false;
    if (D <= 32)
        f(std::integral_constant<int, 32>());
    else if (D <= 64)
        f(std::integral_constant<int, 64>());
    else if (D <= 96)
        f(std::integral_constant<int, 96>());
    else
        f(std::integral_constant<int, 128>());
    return true;
}

} // namespace gpu
