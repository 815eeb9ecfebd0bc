#pragma once
// Attention on tensor cores, bf16 in and f32 sums, for heads of up to 128 channels in whole 16-byte pieces.
// Tiles of 64 rows, a warp for 16 of them, against tiles of keys (or, for dk and dv, of queries) that are
// copied one ahead while a tile is worked on [Dao 2023, algorithms 1 and 2].
//
// A tile row takes D + 8 elements of shared memory: the 8 rows of an ldmatrix then lie in different banks.
// D is the head width rounded up to 32, 64, 96 or 128; channels past the real width are zero.

#include "mma.cuh"
#include "ragged.cuh"

namespace gpu {

constexpr int tile_rows = 64; // of the tile that a block owns: 4 warps of 16
constexpr int tile_threads = 128;
constexpr float log2_e = 1.4426950408889634f, ln_2 = 0.6931471805599453f;

template <int D> constexpr int stride = D + 8;
template <int D, int rows> constexpr int tile_size = rows* stride<D>;

// c (16, 8 M) = a b^T over D channels: rows of `a` and of `b` in shared memory, of M 8-row pieces of b.
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

// sum (16, D) += c b for c (16, 8 M) in registers, rounded to bf16, and the 8 M rows of b.
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

// Starts copying `rows` rows to a tile. row(i): the i-th row's element 0 in global memory, or null for zeros.
template <int D, class F>
__device__ __forceinline__ void copy_tile(AsyncCopies& copies, bf16* tile, int rows, int width,
                                          const bf16* anywhere, F row) {
    for (int i = threadIdx.x; i < rows * (D / 8); i += tile_threads) {
        const int r = i / (D / 8), d = i % (D / 8) * 8;
        const bf16* from = d < width ? row(r) : nullptr;
        copies.copy16(tile + r * stride<D> + d, from ? from + d : anywhere, from != nullptr);
    }
}

// Online softmax of 16 rows of scores: c becomes exp2(scale c - largest), of which the thread has rows
// g and g + 8; `largest` and `total` (the thread's columns) are of what came before, with `sum` scaled to
// the new largest. Columns from limit[r] on are not seen.
template <int D, int M>
__device__ __forceinline__ void
online_softmax(float (&c)[M][4], float (&sum)[D / 8][4], float (&largest)[2], float (&total)[2],
               float scale_log2, bool masked, const int (&limit)[2], int first_column) {
    const int column = first_column + threadIdx.x % 4 * 2;
    UNROLL for (int r = 0; r < 2; ++r) {
        float most = -INFINITY;
        UNROLL for (int m = 0; m < M; ++m) UNROLL for (int i = 2 * r; i < 2 * r + 2; ++i) {
            const bool seen = !masked || column + m * 8 + i % 2 < limit[r];
            c[m][i] = seen ? c[m][i] * scale_log2 : -INFINITY;
            most = fmaxf(most, c[m][i]);
        }
        most = fmaxf(most, __shfl_xor_sync(all_lanes, most, 1));
        most = fmaxf(most, __shfl_xor_sync(all_lanes, most, 2));
        most = fmaxf(most, largest[r]);
        const float origin = most == -INFINITY ? 0 : most; // nothing seen yet
        const float fade = exp2_approximate(largest[r] - origin);
        largest[r] = most;
        total[r] *= fade;
        UNROLL for (int m = 0; m < M; ++m) UNROLL for (int i = 2 * r; i < 2 * r + 2; ++i) {
            c[m][i] = exp2_approximate(c[m][i] - origin);
            total[r] += c[m][i];
        }
        UNROLL for (int d = 0; d < D / 8; ++d) {
            sum[d][2 * r] *= fade;
            sum[d][2 * r + 1] *= fade;
        }
    }
}

// A row's sum over the 4 threads that share it.
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(all_lanes, x, 1);
    return x + __shfl_xor_sync(all_lanes, x, 2);
}

// The thread's two neighbouring channels of row g (r = 0) or g + 8 (r = 1): f(channel, first, second).
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

// What a block of any of the kernels works on.
struct AttentionShape {
    RaggedView ragged;
    int H, K, width; // width: of a head
    float scale;
    __device__ __forceinline__ int64_t row_width() const { return (int64_t)(H + 2 * K) * width; }
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

// ---- forward ------------------------------------------------------------------------------------

// Block: a tile of queries of one head.   grid: (tiles, H), the last tile first: it sees the most keys
template <int D>
__global__ void __launch_bounds__(tile_threads)
    attention_forward_tiles_kernel(bf16* __restrict__ y, float* __restrict__ lse,
                                   const bf16* __restrict__ qkv, AttentionShape shape) {
    DYN_SHARED(bf16, memory);
    bf16* queries = memory;
    bf16* keys = queries + tile_size<D, tile_rows>; // two tiles
    bf16* values = keys + 2 * tile_size<D, tile_rows>;
    const Tile tile = tile_at(shape.ragged, tile_rows, (int)(gridDim.x - 1 - blockIdx.x));
    const Sequence s = sequence_at(shape.ragged, tile.s);
    if (tile.first >= s.rows) return; // the whole block
    const int h = blockIdx.y, lane = threadIdx.x % 32, warp_row = threadIdx.x / 32 * 16;
    const int64_t row_width = shape.row_width();
    const bf16* key = qkv + (shape.H + h / (shape.H / shape.K)) * shape.width;
    const bf16* value = key + shape.K * shape.width;

    AsyncCopies copies;
    copy_tile<D>(copies, queries, tile_rows, shape.width, qkv, [&](int r) {
        return tile.first + r < s.rows
                   ? qkv + (s.begin + tile.first + r) * row_width + h * shape.width
                   : nullptr;
    });
    const int last = min(tile.first + tile_rows, s.rows) - 1;
    const int end = s.limit(s.shared + last), key_tiles = (end + tile_rows - 1) / tile_rows;
    auto copy_keys = [&](int t) {
        const int into = t % 2 * tile_size<D, tile_rows>, first = t * tile_rows;
        auto place = [&](const bf16* of, int r) {
            return first + r < end ? of + s.row(first + r) * row_width : nullptr;
        };
        copy_tile<D>(copies, keys + into, tile_rows, shape.width, qkv,
                     [&](int r) { return place(key, r); });
        copy_tile<D>(copies, values + into, tile_rows, shape.width, qkv,
                     [&](int r) { return place(value, r); });
        copies.commit();
    };
    copy_keys(0);

    int limit[2]; // of the thread's rows; those past the sequence's end do as the last one
    UNROLL for (int r = 0; r < 2; ++r) limit[r] =
        s.limit(s.shared + min(tile.first + warp_row + lane / 4 + 8 * r, last));
    const int all_see = s.limit(s.shared + tile.first); // keys that every row sees
    float sum[D / 8][4] = {}, largest[2] = {-INFINITY, -INFINITY}, total[2] = {};
    for (int t = 0; t < key_tiles; ++t) {
        if (t + 1 < key_tiles) {
            copy_keys(t + 1);
            copies.wait<1>();
        } else {
            copies.wait<0>();
        }
        __syncthreads();
        const int at = t % 2 * tile_size<D, tile_rows>;
        float score[tile_rows / 8][4];
        multiply_rows<D>(score, queries + warp_row * stride<D>, keys + at);
        online_softmax<D>(score, sum, largest, total, shape.scale * log2_e,
                          (t + 1) * tile_rows > all_see, limit, t * tile_rows);
        add_product<D>(sum, score, values + at);
        __syncthreads(); // the tile is overwritten by the copy after the next
    }

    UNROLL for (int r = 0; r < 2; ++r) {
        const float all = quad_sum(total[r]);
        const int row = tile.first + warp_row + lane / 4 + 8 * r;
        if (row >= s.rows) continue;
        const int64_t row_head = (int64_t)(s.begin + row) * shape.H + h;
        const float inverse = 1 / all;
        each_pair<D>(sum, r, shape.width, [&](int d, float a, float b) {
            *reinterpret_cast<Word*>(y + row_head * shape.width + d) =
                pack_halves(a * inverse, b * inverse);
        });
        if (lane % 4 == 0) lse[row_head] = largest[r] * ln_2 + logf(all);
    }
}

// ---- backward -----------------------------------------------------------------------------------

// Rows of the tiles that pass by: fewer where accumulators take more registers.
template <int D> constexpr int passing_rows = D > 64 ? 32 : 64;

// Block: dq of a tile of queries of one head, over the keys they see.
template <int D>
__global__ void __launch_bounds__(tile_threads)
    attention_dq_tiles_kernel(bf16* __restrict__ dqkv, const bf16* __restrict__ dy,
                              const float* __restrict__ delta, const float* __restrict__ lse,
                              const bf16* __restrict__ qkv, AttentionShape shape) {
    DYN_SHARED(bf16, memory);
    constexpr int passing = passing_rows<D>, key_tile = tile_size<D, passing>;
    bf16* queries = memory;
    bf16* douts = queries + tile_size<D, tile_rows>;
    bf16* keys = douts + tile_size<D, tile_rows>; // two tiles
    bf16* values = keys + 2 * key_tile;
    const Tile tile = tile_at(shape.ragged, tile_rows, (int)(gridDim.x - 1 - blockIdx.x));
    const Sequence s = sequence_at(shape.ragged, tile.s);
    if (tile.first >= s.rows) return;
    const int h = blockIdx.y, lane = threadIdx.x % 32, warp_row = threadIdx.x / 32 * 16;
    const int64_t row_width = shape.row_width();
    const bf16* key = qkv + (shape.H + h / (shape.H / shape.K)) * shape.width;
    const bf16* value = key + shape.K * shape.width;

    AsyncCopies copies;
    copy_tile<D>(copies, queries, tile_rows, shape.width, qkv, [&](int r) {
        return tile.first + r < s.rows
                   ? qkv + (s.begin + tile.first + r) * row_width + h * shape.width
                   : nullptr;
    });
    copy_tile<D>(copies, douts, tile_rows, shape.width, qkv, [&](int r) {
        return tile.first + r < s.rows
                   ? dy + ((int64_t)(s.begin + tile.first + r) * shape.H + h) * shape.width
                   : nullptr;
    });
    const int last = min(tile.first + tile_rows, s.rows) - 1;
    const int end = s.limit(s.shared + last), key_tiles = (end + passing - 1) / passing;
    auto copy_keys = [&](int t) {
        const int into = t % 2 * key_tile, first = t * passing;
        auto place = [&](const bf16* of, int r) {
            return first + r < end ? of + s.row(first + r) * row_width : nullptr;
        };
        copy_tile<D>(copies, keys + into, passing, shape.width, qkv,
                     [&](int r) { return place(key, r); });
        copy_tile<D>(copies, values + into, passing, shape.width, qkv,
                     [&](int r) { return place(value, r); });
        copies.commit();
    };
    copy_keys(0);

    int limit[2];
    float row_lse[2], row_delta[2];
    UNROLL for (int r = 0; r < 2; ++r) {
        const int row = min(tile.first + warp_row + lane / 4 + 8 * r, last);
        const int64_t row_head = (int64_t)(s.begin + row) * shape.H + h;
        limit[r] = s.limit(s.shared + row);
        row_lse[r] = lse[row_head] * log2_e, row_delta[r] = delta[row_head];
    }
    const float scale_log2 = shape.scale * log2_e;
    float dq[D / 8][4] = {};
    for (int t = 0; t < key_tiles; ++t) {
        if (t + 1 < key_tiles) {
            copy_keys(t + 1);
            copies.wait<1>();
        } else {
            copies.wait<0>();
        }
        __syncthreads();
        const int at = t % 2 * key_tile, column = t * passing + lane % 4 * 2;
        float score[passing / 8][4], dp[passing / 8][4];
        multiply_rows<D>(score, queries + warp_row * stride<D>, keys + at);
        multiply_rows<D>(dp, douts + warp_row * stride<D>, values + at);
        UNROLL for (int m = 0; m < passing / 8; ++m) UNROLL for (int i = 0; i < 4; ++i) {
            const bool seen = column + m * 8 + i % 2 < limit[i / 2];
            const float p = exp2_approximate(score[m][i] * scale_log2 - row_lse[i / 2]);
            dp[m][i] = seen ? p * (dp[m][i] - row_delta[i / 2]) : 0;
        }
        add_product<D>(dq, dp, keys + at);
        __syncthreads();
    }
    UNROLL for (int r = 0; r < 2; ++r) {
        const int row = tile.first + warp_row + lane / 4 + 8 * r;
        if (row >= s.rows) continue;
        bf16* to = dqkv + (s.begin + row) * row_width + h * shape.width;
        each_pair<D>(dq, r, shape.width, [&](int d, float a, float b) {
            add_pair(to + d, shape.scale * a, shape.scale * b);
        });
    }
}

// The tiles of queries that see a tile of keys: of the keys' own sequence, then of those whose parent it
// is; for every query head of the group.
template <int rows> struct QueryTiles {
    const AttentionShape* shape;
    int own, first_query; // of the own sequence: the first tile that sees a key
    int s, g, first;      // where it stands
    Sequence sequence;

    __device__ __forceinline__ QueryTiles(const AttentionShape& shape_, int own_, int first_query_)
        : shape(&shape_), own(own_), first_query(first_query_), s(own_), g(0), first(first_query_),
          sequence(sequence_at(shape_.ragged, own_)) {}
    __device__ __forceinline__ bool done() const { return s >= shape->ragged.sequences; }
    __device__ __forceinline__ void next() {
        first += rows;
        if (first < sequence.rows) return;
        first = s == own ? first_query : 0;
        if (++g < shape->H / shape->K) return;
        g = 0, first = 0;
        do {
            ++s;
        } while (!done() && !(shape->ragged.parent && shape->ragged.parent[s] == own &&
                              shape->ragged.begin[s + 1] > shape->ragged.begin[s]));
        if (!done()) sequence = sequence_at(shape->ragged, s);
    }
};

// Block: dk and dv of a tile of keys of one key/value head, over the queries that see them. Scores are kept
// transposed, keys by queries: then both sums take them from registers as they are.
template <int D>
__global__ void __launch_bounds__(tile_threads)
    attention_dkv_tiles_kernel(bf16* __restrict__ dqkv, const bf16* __restrict__ dy,
                               const float* __restrict__ delta, const float* __restrict__ lse,
                               const bf16* __restrict__ qkv, AttentionShape shape) {
    DYN_SHARED(bf16, memory);
    constexpr int passing = passing_rows<D>, query_tile = tile_size<D, passing>;
    bf16* keys = memory;
    bf16* values = keys + tile_size<D, tile_rows>;
    bf16* queries = values + tile_size<D, tile_rows>; // two tiles
    bf16* douts = queries + 2 * query_tile;
    __shared__ float tile_lse[2][passing], tile_delta[2][passing];
    const Tile tile = tile_at(shape.ragged, tile_rows, (int)blockIdx.x);
    const Sequence s = sequence_at(shape.ragged, tile.s);
    if (tile.first >= s.rows) return;
    const int head = blockIdx.y, lane = threadIdx.x % 32, warp_row = threadIdx.x / 32 * 16;
    const int64_t row_width = shape.row_width();

    AsyncCopies copies;
    auto own_row = [&](int r, int of) {
        return tile.first + r < s.rows
                   ? qkv + (s.begin + tile.first + r) * row_width + of * shape.width
                   : nullptr;
    };
    copy_tile<D>(copies, keys, tile_rows, shape.width, qkv,
                 [&](int r) { return own_row(r, shape.H + head); });
    copy_tile<D>(copies, values, tile_rows, shape.width, qkv,
                 [&](int r) { return own_row(r, shape.H + shape.K + head); });

    const int first_query = s.shared + tile.first < s.prefix ? 0 : tile.first / passing * passing;
    QueryTiles<passing> now(shape, tile.s, first_query), ahead = now;
    auto copy_queries = [&](const QueryTiles<passing>& at, int into) {
        const int h = head * (shape.H / shape.K) + at.g;
        auto batch_row = [&](int r) { return (int64_t)at.sequence.begin + at.first + r; };
        copy_tile<D>(copies, queries + into * query_tile, passing, shape.width, qkv, [&](int r) {
            return at.first + r < at.sequence.rows
                       ? qkv + batch_row(r) * row_width + h * shape.width
                       : nullptr;
        });
        copy_tile<D>(copies, douts + into * query_tile, passing, shape.width, qkv, [&](int r) {
            return at.first + r < at.sequence.rows ? dy + (batch_row(r) * shape.H + h) * shape.width
                                                   : nullptr;
        });
        copies.commit();
        if ((int)threadIdx.x < passing) { // exp2(.. - infinity) is 0: rows past the end add nothing
            const bool inside = at.first + (int)threadIdx.x < at.sequence.rows;
            const int64_t row_head = batch_row(threadIdx.x) * shape.H + h;
            tile_lse[into][threadIdx.x] = inside ? lse[row_head] * log2_e : INFINITY;
            tile_delta[into][threadIdx.x] = inside ? delta[row_head] : 0;
        }
    };
    copy_queries(now, 0);

    const float scale_log2 = shape.scale * log2_e;
    float dk[D / 8][4] = {}, dv[D / 8][4] = {};
    for (int buffer = 0; !now.done(); buffer = 1 - buffer) {
        ahead.next();
        if (!ahead.done()) {
            copy_queries(ahead, 1 - buffer);
            copies.wait<1>();
        } else {
            copies.wait<0>();
        }
        __syncthreads();
        const bf16 *query = queries + buffer * query_tile, *dout = douts + buffer * query_tile;
        float p[passing / 8][4], ds[passing / 8][4];
        multiply_rows<D>(p, keys + warp_row * stride<D>, query);
        multiply_rows<D>(ds, values + warp_row * stride<D>, dout);
        const bool own = now.s == tile.s; // others see all keys
        UNROLL for (int m = 0; m < passing / 8; ++m) UNROLL for (int i = 0; i < 4; ++i) {
            const int column = m * 8 + lane % 4 * 2 + i % 2;
            const int position = s.shared + tile.first + warp_row + lane / 4 + i / 2 * 8;
            const bool seen = !own || position < s.limit(s.shared + now.first + column);
            const float e = exp2_approximate(p[m][i] * scale_log2 - tile_lse[buffer][column]);
            p[m][i] = seen ? e : 0;
            ds[m][i] = p[m][i] * (ds[m][i] - tile_delta[buffer][column]);
        }
        add_product<D>(dv, p, dout);
        add_product<D>(dk, ds, query);
        __syncthreads();
        now = ahead;
    }
    UNROLL for (int r = 0; r < 2; ++r) {
        const int row = tile.first + warp_row + lane / 4 + 8 * r;
        if (row >= s.rows) continue;
        bf16* to = dqkv + (s.begin + row) * row_width + (shape.H + head) * shape.width;
        each_pair<D>(dk, r, shape.width, [&](int d, float a, float b) {
            add_pair(to + d, shape.scale * a, shape.scale * b);
        });
        to += shape.K * shape.width;
        each_pair<D>(dv, r, shape.width, [&](int d, float a, float b) { add_pair(to + d, a, b); });
    }
}

} // namespace gpu
