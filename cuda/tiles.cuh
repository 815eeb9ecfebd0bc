#pragma once
// Attention on tensor cores in pieces: bf16 in and f32 sums, for heads of up to 128 channels in whole 16-byte
// pieces. A block owns a tile of rows; tiles of the other side pass by in shared memory, one copied while one
// is worked on. attention.cu and decode.cu put the pieces together.
//
// Two forms of the products, with the same pieces of the results in the same threads:
//   mma.sync, on every GPU: a warp has 16 own rows and loads pieces of the passing tile to registers
//   wgmma, on Hopper alone: four warps have 64 own rows, the passing tile is read where it is
//
// D is the head width rounded up to 32, 64, 96 or 128; channels past the real width are zero. A tile lies in
// shared memory in boxes of 8 rows by 64 channels (32 where 64 does not divide D). Within a box the 16-byte
// pieces of a row are swapped by the row's number, so that a column of pieces lies in different banks;
// this is the order that wgmma asks for [PTX ISA, section 9.7.15.5.1: 128-byte and 64-byte swizzling].
//
// Exponentials have base 2: the GPU has one instruction for 2^x (ex2) and none for e^x. Scores are multiplied
// by log2 e together with the softmax scale, and 2^(score log2 e) is e^score.

#include "ragged.cuh"
#include "wgmma.cuh"

namespace gpu {

constexpr int tile_rows = 64;     // of a tile in the form for every GPU: 4 warps of 16
constexpr int tile_threads = 128; // in that form

template <int D> constexpr int box_width = D % 64 == 0 ? 64 : 32;
template <int D, int rows> constexpr int tile_size = rows* D;
// Of row r, channel d. Rows from a multiple of 8 on are a tile, too: it begins at row * D.
template <int D> __device__ __forceinline__ unsigned place(unsigned r, unsigned d) {
    constexpr unsigned W = box_width<D>;
    const unsigned piece = d % W / 8 ^ (W == 64 ? r % 8 : r / 2 % 4);
    return (r / 8 * (D / W) + d / W) * 8 * W + r % 8 * W + piece * 8 + d % 8;
}

// ---- products -----------------------------------------------------------------------------------

// By mma.sync, at once; the rest is what wgmma.cuh's products need.
struct WarpProducts {
    template <int M> __device__ __forceinline__ void hold(float (&)[M][4], bool) {}
    __device__ __forceinline__ void publish() {}
    __device__ __forceinline__ void begin() {}
    __device__ __forceinline__ void commit() {}
    template <int left, class... Sums> __device__ __forceinline__ void wait(Sums&...) {}
};

// A warp's 16 own rows as the left side of a product, where they lie.
template <int D> struct RowsInShared {
    const bf16* first;
    __device__ __forceinline__ void piece(unsigned (&words)[4], int d) const {
        const int lane = threadIdx.x % 32;
        ldmatrix_x4<false>(words, first + place<D>(lane % 16, d + lane / 16 * 8));
    }
};

// c (own rows, 8 M) = a b^T over D channels, for the 8 M rows of tile b.
template <int D, int M, class Rows>
__device__ __forceinline__ void multiply_rows(WarpProducts&, float (&c)[M][4], const Rows& a,
                                              const bf16* b) {
    const int lane = threadIdx.x % 32;
    UNROLL for (int m = 0; m < M; ++m) UNROLL for (int i = 0; i < 4; ++i) c[m][i] = 0;
    UNROLL for (int d = 0; d < D; d += 16) {
        unsigned left[4];
        a.piece(left, d);
        UNROLL for (int m = 0; m < M; m += 2) {
            unsigned right[4];
            const int row = m * 8 + lane / 16 * 8 + lane % 8;
            ldmatrix_x4<false>(right, b + place<D>(row, d + lane / 8 % 2 * 8));
            mma16816(c[m], left, right[0], right[1]);
            mma16816(c[m + 1], left, right[2], right[3]);
        }
    }
}
template <int D> __device__ __forceinline__ wgmma::Operand tile_operand(const bf16* tile) {
    return wgmma::operand<2 * box_width<D>>(tile, 16 * D);
}
// a: the warpgroup's 64 own rows
template <int D, int M>
__device__ __forceinline__ void multiply_rows(wgmma::Products& products, float (&c)[M][4],
                                              const wgmma::Operand& a, const bf16* b) {
    constexpr int W = box_width<D>;
    const wgmma::Operand right = tile_operand<D>(b);
    UNROLL for (int d = 0; d < D; d += 16) {
        const int at = d / W * 8 * W + d % W;
        products.multiply<8 * M>(c, after(a, at), after(right, at), d > 0);
    }
}

// c (16 rows of a warp, 8 M columns), rounded to bf16, as the left side of a product.
template <int M> struct Rounded {
    unsigned words[M / 2][4];
    Rounded() = default;
    __device__ __forceinline__ explicit Rounded(const float (&c)[M][4]) {
        UNROLL for (int m = 0; m < M; ++m) UNROLL for (int r = 0; r < 2; ++r)
            words[m / 2][m % 2 * 2 + r] = pack_halves(c[m][2 * r], c[m][2 * r + 1]);
    }
};

// sum (own rows, D) += c b for the 8 M rows of tile b.
template <int D, int M>
__device__ __forceinline__ void add_product(WarpProducts&, float (&sum)[D / 8][4],
                                            const Rounded<M>& c, const bf16* b) {
    const int lane = threadIdx.x % 32;
    UNROLL for (int m = 0; m < M; m += 2) UNROLL for (int d = 0; d < D; d += 16) {
        unsigned right[4];
        ldmatrix_x4<true>(right, b + place<D>(m * 8 + lane % 16, d + lane / 16 * 8));
        mma16816(sum[d / 8], c.words[m / 2], right[0], right[1]);
        mma16816(sum[d / 8 + 1], c.words[m / 2], right[2], right[3]);
    }
}
template <int D, int M>
__device__ __forceinline__ void add_product(wgmma::Products& products, float (&sum)[D / 8][4],
                                            const Rounded<M>& c, const bf16* b) {
    constexpr int W = box_width<D>;
    const wgmma::Operand right = tile_operand<D>(b);
    UNROLL for (int m = 0; m < M; m += 2) UNROLL for (int d = 0; d < D; d += W)
        products.multiply<W>(sum + d / 8, c.words[m / 2], after(right, m * 8 * D + d * 8), true);
}

// The product that ends the work on a passing tile: sum += weights b, b in one of the buffers at `tiles`. With
// `late` it runs beside the first products of the tile after, and beside what the warps do with these. The
// first tile then has weights of zero before it.
template <bool late, int D, int rows, class Products> struct LastProduct {
    Products& products;
    float (&sum)[D / 8][4];
    const bf16* tiles;
    Rounded<rows / 8> weights = {};
    int buffer = 0;

    // A batch by itself, if `late`.
    __device__ __forceinline__ void of_tile_before() {
        if constexpr (late) {
            add_product<D>(products, sum, weights, tiles + buffer * tile_size<D, rows>);
            products.commit();
        }
    }
    __device__ __forceinline__ void of_tile(const float (&c)[rows / 8][4], int buffer_) {
        weights = Rounded(c), buffer = buffer_;
        if constexpr (!late) finish();
    }
    __device__ __forceinline__ void of_last_tile() {
        if constexpr (late) finish();
    }
    __device__ __forceinline__ void finish() {
        products.begin();
        add_product<D>(products, sum, weights, tiles + buffer * tile_size<D, rows>);
        products.commit();
        products.template wait<0>(sum);
    }
};

// ---- copies -------------------------------------------------------------------------------------

// Calls f(r, d, place) for the thread's 16-byte pieces of a tile.
template <int D, int rows, int threads = tile_threads, class F>
__device__ __forceinline__ void each_piece(F f) {
    static_assert(rows * (D / 8) % threads == 0);
    UNROLL_BY(4) for (unsigned k = 0; k < rows * (D / 8); k += threads) {
        const unsigned i = k + threadIdx.x, r = i / (D / 8), d = i % (D / 8) * 8;
        f((int)r, (int)d, place<D>(r, d));
    }
}

// Starts copying `rows` rows to a tile. row(i): the i-th row's element 0 in global memory, or null for zeros.
template <int D, class F>
__device__ __forceinline__ void copy_tile(AsyncCopies& copies, bf16* tile, int rows, int width,
                                          const bf16* anywhere, F row) {
    for (int i = threadIdx.x; i < rows * (D / 8); i += tile_threads) {
        const int r = i / (D / 8), d = i % (D / 8) * 8;
        const bf16* from = d < width ? row(r) : nullptr;
        copies.copy16(tile + place<D>(r, d), from ? from + d : anywhere, from != nullptr);
    }
}

// work(at, buffer, copy_next) for every place from `at` on, while copies of the next one's tiles are under way
// to the next buffer; copy(at, 0) for the first has been called. Of two buffers, work on a tile ends with it;
// of three, its last product may run on until the work on the next tile ends. work calls copy_next once, when
// products are under way: with `copies_after`, that starts the copies. Place: done(), next()
template <int buffers, bool copies_after, class Products, class Place, class Copy, class Work>
__device__ __forceinline__ void buffered(AsyncCopies& copies, Products& products, Place at,
                                         Copy copy, Work work) {
    Place ahead = at;
    for (int buffer = 0; !at.done();) {
        const int next = buffer + 1 < buffers ? buffer + 1 : 0;
        auto copy_next = [&] {
            ahead.next();
            if (!ahead.done()) copy(ahead, next);
        };
        copies.wait<0>();
        products.publish();
        __syncthreads(); // this buffer is full, and nobody works on the next any more
        if constexpr (!copies_after) copy_next();
        work(at, buffer, [&] {
            if constexpr (copies_after) copy_next();
        });
        at = ahead, buffer = next;
    }
    __syncthreads();
}

// Tiles of keys, by number.
struct KeyTiles {
    int t, count;
    __device__ __forceinline__ bool done() const { return t >= count; }
    __device__ __forceinline__ void next() { ++t; }
};

// ---- softmax ------------------------------------------------------------------------------------

// Of rows g and g + 8: columns from these on are not seen.
struct Limits {
    int of[2];
};
template <int M>
__device__ __forceinline__ void mask_columns(float (&c)[M][4], Limits limits, int first_column) {
    const int column = first_column + threadIdx.x % 4 * 2;
    UNROLL for (int j = 0; j < M; ++j) {
        UNROLL for (int i = 0; i < 4; ++i) {
            if (column + j * 8 + i % 2 >= limits.of[i / 2]) c[j][i] = -INFINITY;
        }
    }
}

// Online softmax of 16 rows of scores over one more tile of keys [Dao 2023, algorithm 1], in base 2: c becomes
// P = 2^(scale c - m); of rows g and g + 8, which the thread shares with three others,
//   m        is the largest score so far, times the scale, which is positive
//   l        the thread's share of the sum of 2^(score - m) so far
//   rescale  = 2^(m_before - m), by which l and y shrink when m grows: rescale_rows
struct Softmax {
    float m[2] = {-INFINITY, -INFINITY}, l[2] = {}, rescale[2];

    template <int M>
    __device__ __forceinline__ void weights_of(float (&c)[M][4], float scale_log2) {
        UNROLL for (int r = 0; r < 2; ++r) {
            float most = -INFINITY;
            UNROLL for (int j = 0; j < M; ++j) {
                most = fmaxf(most, fmaxf(c[j][2 * r], c[j][2 * r + 1]));
            }
            most = fmaxf(most, __shfl_xor_sync(all_lanes, most, 1));
            most = fmaxf(most, __shfl_xor_sync(all_lanes, most, 2));
            most = fmaxf(most * scale_log2, m[r]);
            const float origin = most == -INFINITY ? 0 : most; // nothing seen yet
            rescale[r] = exp2_approximate(m[r] - origin);
            m[r] = most;
            float sum[2] = {};
            UNROLL for (int j = 0; j < M; ++j) UNROLL for (int i = 0; i < 2; ++i) {
                float& x = c[j][2 * r + i];
                x = exp2_approximate(x * scale_log2 - origin);
                sum[i] += x;
            }
            l[r] = l[r] * rescale[r] + (sum[0] + sum[1]);
        }
    }
    // Whether that matters to one of the warp's rows.
    __device__ __forceinline__ bool grown() const {
        return __any_sync(all_lanes, rescale[0] != 1 || rescale[1] != 1);
    }
    template <int M> __device__ __forceinline__ void rescale_rows(float (&y)[M][4]) const {
        UNROLL for (int j = 0; j < M; ++j) {
            UNROLL for (int i = 0; i < 4; ++i) { y[j][i] *= rescale[i / 2]; }
        }
    }
};

// A row's sum over the 4 threads that share it.
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(all_lanes, x, 1);
    return x + __shfl_xor_sync(all_lanes, x, 2);
}

// ---- results ------------------------------------------------------------------------------------

// The thread's two neighbouring channels of row g (r = 0) or g + 8 (r = 1): f(channel, first, second).
template <int D, class F>
__device__ __forceinline__ void each_pair(const float (&sum)[D / 8][4], int r, int width, F f) {
    UNROLL for (int m = 0; m < D / 8; ++m) {
        const int d = m * 8 + threadIdx.x % 4 * 2;
        if (d < width) f(d, sum[m][2 * r], sum[m][2 * r + 1]);
    }
}
// To two neighbouring elements, added to what is there or in place of it.
__device__ __forceinline__ void put_pair(bf16* to, float first, float second, bool add) {
    Word* word = reinterpret_cast<Word*>(to);
    *word = add ? pack_halves(low_half(*word) + first, high_half(*word) + second)
                : pack_halves(first, second);
}

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
