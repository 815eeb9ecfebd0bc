// Attention over a ragged batch, forward and backward; ops.h has the formula,
// src/ops/attention_formula.h the plain loops. Query row i of a head, over the
// tiles of keys as they pass [Dao 2023, algorithm 1]:
//
//   m_i = max_j S_ij so far        l_i = sum_j exp(S_ij - m_i)       y_i =
//   sum_j exp(S_ij - m_i) v_j a tile that raises m_i from m_before rescales l_i
//   and y_i by exp(m_before - m_i) in the end y_i /= l_i, and lse_i = m_i + log
//   l_i
//
// Backward, with P made anew from lse [algorithm 2]: delta_i = <dy_i, y_i>
// beforehand, then per tile
//
//   P_ij = exp(S_ij - lse_i)       dP_ij = <dy_i, v_j>               dS_ij =
//   P_ij (dP_ij - delta_i) dq_i += scale sum_j dS_ij k_j  dk_j += scale sum_i
//   dS_ij q_i     dv_j += sum_i P_ij dy_i
//
// dq is summed per tile of queries, dk and dv per tile of keys, each in one
// block and one order: no atomics. Tiles (bf16, heads of up to 128 channels in
// whole 16-byte pieces) are tiles.cuh's, everything else goes row by row with
// rows.cuh.

#include "rows.cuh"
#include "tiles.cuh"

namespace gpu {

// ---- tiles
// --------------------------------------------------------------------------------------

struct AttentionShape {
    RaggedView ragged;
    int H, K, width; // width: of a head
    float scale;
    __device__ __forceinline__ int64_t row_width() const { return (int64_t)(H + 2 * K) * width; }
};

// Keys and values of one head, tokens 0 .. end-1 of a sequence; key and value: row 0 of the batch.
struct KeyRows {
    const bf16 *qkv, *key, *value;
    int end;
};

// What the blocks of the three kernels have in common: a tile of a sequence's
// own rows, 16 of them a warp's, of which a thread has two: r = 0, 1.
struct TileBlock {
    const AttentionShape* shape;
    Sequence s;
    int number, first;  // of the sequence; its own row that the tile begins with
    int lane, warp_row; // of the thread; the tile's row that its warp begins with

    __device__ __forceinline__ TileBlock(const AttentionShape& shape_, int tile_number)
        : shape(&shape_), lane(threadIdx.x % 32), warp_row(threadIdx.x / 32 * 16) {
        const Tile tile = tile_at(shape_.ragged, tile_rows, tile_number);
        s = sequence_at(shape_.ragged, tile.s);
        number = tile.s;
        first = tile.first;
    }
    __device__ __forceinline__ bool empty() const { return first >= s.rows; }
    __device__ __forceinline__ int last() const { return min(first + tile_rows, s.rows) - 1; }
    __device__ __forceinline__ int row(int r) const { return first + warp_row + lane / 4 + 8 * r; }
    // The tile's rows of one array: row n of the batch is at x + n * row_stride.
    template <int D>
    __device__ __forceinline__ void copy_own(AsyncCopies& copies, bf16* tile, const bf16* x,
                                             int64_t row_stride) const {
        copy_tile<D>(copies, tile, tile_rows, shape->width, x, [&](int r) {
            return first + r < s.rows ? x + (s.begin + first + r) * row_stride : nullptr;
        });
    }
    // What its queries of head h see.
    __device__ __forceinline__ KeyRows keys_of(const bf16* qkv, int h) const {
        const bf16* key = qkv + (shape->H + h / (shape->H / shape->K)) * shape->width;
        return {qkv, key, key + shape->K * shape->width, s.limit(s.shared + last())};
    }
    template <int D, int rows>
    __device__ __forceinline__ void copy_keys(AsyncCopies& copies, bf16* keys, bf16* values,
                                              const KeyRows& of, int from) const {
        const int64_t row_width = shape->row_width();
        auto place = [&](const bf16* row_0, int r) {
            return from + r < of.end ? row_0 + s.row(from + r) * row_width : nullptr;
        };
        copy_tile<D>(copies, keys, rows, shape->width, of.qkv,
                     [&](int r) { return place(of.key, r); });
        copy_tile<D>(copies, values, rows, shape->width, of.qkv,
                     [&](int r) { return place(of.value, r); });
        copies.commit();
    }
};

// Block: y of a tile of queries of one head.   grid: (tiles, H), the last tile
// first: it sees the most keys
template <int D>
__global__ void __launch_bounds__(tile_threads)
    attention_forward_tiles_kernel(bf16* __restrict__ y_, float* __restrict__ lse,
                                   const bf16* __restrict__ qkv, AttentionShape shape) {
    DYN_SHARED(bf16, memory);
    constexpr int tile = tile_size<D, tile_rows>;
    bf16 *queries = memory, *keys = queries + tile,
         *values = keys + 2 * tile; // 1, 2, 2 tiles
    const TileBlock block(shape, (int)(gridDim.x - 1 - blockIdx.x));
    if (block.empty()) return;
    const Sequence& s = block.s;
    const int h = blockIdx.y;
    const KeyRows seen_keys = block.keys_of(qkv, h);
    const int count = (seen_keys.end + tile_rows - 1) / tile_rows;

    AsyncCopies copies;
    block.copy_own<D>(copies, queries, qkv + h * shape.width, shape.row_width());
    auto copy = [&](KeyTiles at, int into) {
        block.copy_keys<D, tile_rows>(copies, keys + into * tile, values + into * tile, seen_keys,
                                      at.t * tile_rows);
    };
    copy({0, count}, 0);

    int limit[2]; // rows past the sequence's end do as the last one
    UNROLL for (int r = 0; r < 2; ++r) limit[r] =
        s.limit(s.shared + min(block.row(r), block.last()));
    const int all_see = s.limit(s.shared + block.first); // keys that every row sees
    float y[D / 8][4] = {}, m[2] = {-INFINITY, -INFINITY}, l[2] = {};
    double_buffered(copies, KeyTiles{0, count}, copy, [&](KeyTiles at, int buffer) {
        float p[tile_rows / 8][4]; // S, then P
        multiply_rows<D>(p, queries + block.warp_row * stride<D>, keys + buffer * tile);
        online_softmax<D>(p, y, m, l, shape.scale * log2_e, (at.t + 1) * tile_rows > all_see, limit,
                          at.t * tile_rows);
        add_product<D>(y, p, values + buffer * tile);
    });

    UNROLL for (int r = 0; r < 2; ++r) {
        const float sum = quad_sum(l[r]), inverse = 1 / sum;
        if (block.row(r) >= s.rows) continue;
        const int64_t row_head = (int64_t)(s.begin + block.row(r)) * shape.H + h;
        each_pair<D>(y, r, shape.width, [&](int d, float a, float b) {
            *reinterpret_cast<Word*>(y_ + row_head * shape.width + d) =
                pack_halves(a * inverse, b * inverse);
        });
        if (block.lane % 4 == 0) lse[row_head] = m[r] * ln_2 + logf(sum);
    }
}

// Rows of the tiles that pass by in backward: fewer where accumulators take
// more registers.
template <int D> constexpr int passing_rows = D > 64 ? 32 : 64;

// Block: dq of a tile of queries of one head, over the keys they see.   grid:
// (tiles, H)
template <int D>
__global__ void __launch_bounds__(tile_threads)
    attention_dq_tiles_kernel(bf16* __restrict__ dqkv, const bf16* __restrict__ dy_,
                              const float* __restrict__ delta_, const float* __restrict__ lse_,
                              const bf16* __restrict__ qkv, AttentionShape shape) {
    DYN_SHARED(bf16, memory);
    constexpr int own = tile_size<D, tile_rows>, passing = passing_rows<D>;
    constexpr int tile = tile_size<D, passing>;
    bf16 *queries = memory, *dy = queries + own, *keys = dy + own, *values = keys + 2 * tile;
    const TileBlock block(shape, (int)(gridDim.x - 1 - blockIdx.x));
    if (block.empty()) return;
    const Sequence& s = block.s;
    const int h = blockIdx.y;
    const KeyRows seen_keys = block.keys_of(qkv, h);
    const int count = (seen_keys.end + passing - 1) / passing;

    AsyncCopies copies;
    block.copy_own<D>(copies, queries, qkv + h * shape.width, shape.row_width());
    block.copy_own<D>(copies, dy, dy_ + h * shape.width, (int64_t)shape.H * shape.width);
    auto copy = [&](KeyTiles at, int into) {
        block.copy_keys<D, passing>(copies, keys + into * tile, values + into * tile, seen_keys,
                                    at.t * passing);
    };
    copy({0, count}, 0);

    int limit[2];
    float lse[2], delta[2];
    UNROLL for (int r = 0; r < 2; ++r) {
        const int row = min(block.row(r), block.last());
        const int64_t row_head = (int64_t)(s.begin + row) * shape.H + h;
        limit[r] = s.limit(s.shared + row);
        lse[r] = lse_[row_head] * log2_e;
        delta[r] = delta_[row_head];
    }
    const float scale_log2 = shape.scale * log2_e;
    float dq[D / 8][4] = {};
    double_buffered(copies, KeyTiles{0, count}, copy, [&](KeyTiles at, int buffer) {
        const int column = at.t * passing + block.lane % 4 * 2;
        float score[passing / 8][4], dp[passing / 8][4], ds[passing / 8][4];
        multiply_rows<D>(score, queries + block.warp_row * stride<D>, keys + buffer * tile);
        multiply_rows<D>(dp, dy + block.warp_row * stride<D>, values + buffer * tile);
        UNROLL for (int j = 0; j < passing / 8; ++j) UNROLL for (int i = 0; i < 4; ++i) {
            const bool seen = column + j * 8 + i % 2 < limit[i / 2];
            const float p = exp2_approximate(score[j][i] * scale_log2 - lse[i / 2]);
            ds[j][i] = seen ? p * (dp[j][i] - delta[i / 2]) : 0;
        }
        add_product<D>(dq, ds, keys + buffer * tile);
    });

    UNROLL for (int r = 0; r < 2; ++r) {
        if (block.row(r) >= s.rows) continue;
        bf16* to = dqkv + (s.begin + block.row(r)) * shape.row_width() + h * shape.width;
        each_pair<D>(dq, r, shape.width, [&](int d, float a, float b) {
            add_pair(to + d, shape.scale * a, shape.scale * b);
        });
    }
}

// The tiles of queries that see a tile of keys: of the keys' own sequence, then
// of those whose parent it is; for every query head of the group.
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

// A tile of queries in shared memory, with dy, lse and delta of its rows.
template <int D, int rows> struct QueryTile {
    bf16 *queries, *dy;
    float *lse, *delta; // (rows)

    __device__ __forceinline__ void copy(AsyncCopies& copies, const QueryTiles<rows>& at, int head,
                                         const bf16* qkv, const bf16* dy_, const float* lse_,
                                         const float* delta_) const {
        const AttentionShape& shape = *at.shape;
        const int h = head * (shape.H / shape.K) + at.g;
        auto batch_row = [&](int r) { return (int64_t)at.sequence.begin + at.first + r; };
        auto inside = [&](int r) { return at.first + r < at.sequence.rows; };
        copy_tile<D>(copies, queries, rows, shape.width, qkv, [&](int r) {
            return inside(r) ? qkv + batch_row(r) * shape.row_width() + h * shape.width : nullptr;
        });
        copy_tile<D>(copies, dy, rows, shape.width, qkv, [&](int r) {
            return inside(r) ? dy_ + (batch_row(r) * shape.H + h) * shape.width : nullptr;
        });
        copies.commit();
        const int r = threadIdx.x;
        if (r >= rows) return;
        const int64_t row_head = batch_row(r) * shape.H + h;
        lse[r] =
            inside(r) ? lse_[row_head] * log2_e : INFINITY; // 2^(.. - infinity) = 0 adds nothing
        delta[r] = inside(r) ? delta_[row_head] : 0;
    }
};

// Block: dk and dv of a tile of keys of one key/value head, over the queries
// that see them. Scores are kept transposed, keys by queries: then both sums
// take them from registers as they are.   grid: (tiles, K)
template <int D>
__global__ void __launch_bounds__(tile_threads)
    attention_dkv_tiles_kernel(bf16* __restrict__ dqkv, const bf16* __restrict__ dy_,
                               const float* __restrict__ delta_, const float* __restrict__ lse_,
                               const bf16* __restrict__ qkv, AttentionShape shape) {
    DYN_SHARED(bf16, memory);
    constexpr int own = tile_size<D, tile_rows>, passing = passing_rows<D>;
    constexpr int tile = tile_size<D, passing>;
    bf16 *keys = memory, *values = keys + own, *queries = values + own, *dy = queries + 2 * tile;
    __shared__ float lse[2][passing], delta[2][passing];
    const TileBlock block(shape, (int)blockIdx.x);
    if (block.empty()) return;
    const Sequence& s = block.s;
    const int head = blockIdx.y, W = shape.width;

    AsyncCopies copies;
    block.copy_own<D>(copies, keys, qkv + (shape.H + head) * W, shape.row_width());
    block.copy_own<D>(copies, values, qkv + (shape.H + shape.K + head) * W, shape.row_width());
    auto buffer_of = [&](int i) {
        return QueryTile<D, passing>{queries + i * tile, dy + i * tile, lse[i], delta[i]};
    };
    auto copy = [&](const QueryTiles<passing>& at, int into) {
        buffer_of(into).copy(copies, at, head, qkv, dy_, lse_, delta_);
    };
    const int first_query = s.shared + block.first < s.prefix ? 0 : block.first / passing * passing;
    const QueryTiles<passing> first(shape, block.number, first_query);
    copy(first, 0);

    const float scale_log2 = shape.scale * log2_e;
    float dk[D / 8][4] = {}, dv[D / 8][4] = {};
    double_buffered(copies, first, copy, [&](const QueryTiles<passing>& at, int buffer) {
        const QueryTile<D, passing> q = buffer_of(buffer);
        const bool own_rows = at.s == block.number; // others see all keys
        float p[passing / 8][4], dp[passing / 8][4],
            ds[passing / 8][4]; // p: S, then P
        multiply_rows<D>(p, keys + block.warp_row * stride<D>, q.queries);
        multiply_rows<D>(dp, values + block.warp_row * stride<D>, q.dy);
        UNROLL for (int j = 0; j < passing / 8; ++j) UNROLL for (int i = 0; i < 4; ++i) {
            const int column = j * 8 + block.lane % 4 * 2 + i % 2;
            const int position = s.shared + block.row(i / 2);
            const bool seen = !own_rows || position < s.limit(s.shared + at.first + column);
            const float e = exp2_approximate(p[j][i] * scale_log2 - q.lse[column]);
            p[j][i] = seen ? e : 0;
            ds[j][i] = p[j][i] * (dp[j][i] - q.delta[column]);
        }
        add_product<D>(dv, p, q.dy);
        add_product<D>(dk, ds, q.queries);
    });

    UNROLL for (int r = 0; r < 2; ++r) {
        if (block.row(r) >= s.rows) continue;
        bf16* to = dqkv + (s.begin + block.row(r)) * shape.row_width() + (shape.H + head) * W;
        each_pair<D>(dk, r, W, [&](int d, float a, float b) {
            add_pair(to + d, shape.scale * a, shape.scale * b);
        });
        to += shape.K * W;
        each_pair<D>(dv, r, W, [&](int d, float a, float b) { add_pair(to + d, a, b); });
    }
}

// ---- rows
// ---------------------------------------------------------------------------------------

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

// dk and dv of one row and key/value head: lanes are queries; first the
// sequence's own, then those of the sequences whose parent it is.
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

// ---- the ops
// ------------------------------------------------------------------------------------

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

// The head width, after the checks that both directions share.
static int head_width(const char* op, const Tensor& qkv, int H, int K) {
    CHECK(K > 0 && H > 0 && H % K == 0, "%s: %d query heads are no multiple of %d key heads", op, H,
          K);
    const int64_t width = qkv.shape[1];
    CHECK(qkv.rank == 2 && width > 0 && width % (H + 2 * K) == 0,
          "%s: qkv is %s, wanted %d heads side by side", op, shape_text(qkv).c_str(), H + 2 * K);
    const int64_t D = width / (H + 2 * K);
    CHECK(D <= widest_head, "%s: heads are %lld wide; this backend takes up to %d", op,
          (long long)D, widest_head);
    CHECK(H <= 65535, "%s: %d heads; at most 65535", op, H);
    return (int)D;
}

template <class T>
static void attention_forward(Tensor y_, Tensor lse_, Tensor qkv_, const Ragged& ragged_, int H,
                              int K, double scale) {
    const char* op = "attention_forward";
    const int64_t N = qkv_.shape[0];
    const int D = head_width(op, qkv_, H, K);
    T* y = arg<T>(op, "y", y_, {N, H * D});
    float* lse = arg<float>(op, "lse", lse_, {N, H});
    const T* qkv = arg<T>(op, "qkv", qkv_, {N, (H + 2 * K) * D});
    const RaggedView ragged = ragged_view(op, ragged_);
    const bool tiles = with_tiles<T>(
        D,
        [&](auto width) {
            if constexpr (std::is_same_v<T, bf16>) {
                const size_t shared = 5 * tile_size<width, tile_rows> * sizeof(bf16);
                launch(op, attention_forward_tiles_kernel<width>,
                       dim3(tile_count(N, tile_rows, ragged.sequences), (unsigned)H), tile_threads,
                       shared, y, lse, qkv, AttentionShape{ragged, H, K, D, (float)scale});
            }
        },
        y, qkv);
    if (!tiles)
        launch(op, attention_forward_rows_kernel<T>,
               dim3((unsigned)ceil_div(N, row_warps), (unsigned)H), 32 * row_warps, 0, y, lse, qkv,
               ragged, (int)N, H, K, D, (float)scale);
}

template <class T>
static void attention_backward(Gradient dqkv_, Tensor dy_, Tensor y_, Tensor lse_, Tensor qkv_,
                               const Ragged& ragged_, int H, int K, double scale) {
    const char* op = "attention_backward";
    const int64_t N = qkv_.shape[0];
    const int D = head_width(op, qkv_, H, K);
    T* dqkv = arg<T>(op, "dqkv", dqkv_.to, {N, (H + 2 * K) * D});
    const T* dy = arg<T>(op, "dy", dy_, {N, H * D});
    const T* y = arg<T>(op, "y", y_, {N, H * D});
    const float* lse = arg<float>(op, "lse", lse_, {N, H});
    const T* qkv = arg<T>(op, "qkv", qkv_, {N, (H + 2 * K) * D});
    const RaggedView ragged = ragged_view(op, ragged_);
    if (!dqkv_.add) check_cuda(cudaMemsetAsync(dqkv, 0, dqkv_.to.bytes(), context().stream), op);
    float* delta = static_cast<float*>(scratch(N * H * sizeof(float)));
    launch(op, attention_delta_kernel<T>, (unsigned)ceil_div(N * H, 4), 128, 0, delta, dy, y, N * H,
           D);
    const bool tiles = with_tiles<T>(
        D,
        [&](auto width) {
            if constexpr (std::is_same_v<T, bf16>) {
                constexpr int passing = passing_rows<width>;
                const AttentionShape shape = {ragged, H, K, D, (float)scale};
                const unsigned count = tile_count(N, tile_rows, ragged.sequences);
                const size_t shared =
                    (2 * tile_size<width, tile_rows> + 4 * tile_size<width, passing>)*sizeof(bf16);
                launch(op, attention_dq_tiles_kernel<width>, dim3(count, (unsigned)H), tile_threads,
                       shared, dqkv, dy, delta, lse, qkv, shape);
                launch(op, attention_dkv_tiles_kernel<width>, dim3(count, (unsigned)K),
                       tile_threads, shared, dqkv, dy, delta, lse, qkv, shape);
            }
        },
        dqkv, dy, qkv);
    if (tiles) return;
    const unsigned blocks = (unsigned)ceil_div(N, row_warps);
    launch(op, attention_dq_rows_kernel<T>, dim3(blocks, (unsigned)H), 32 * row_warps, 0, dqkv, dy,
           delta, lse, qkv, ragged, (int)N, H, K, D, (float)scale);
    launch(op, attention_dkv_rows_kernel<T>, dim3(blocks, (unsigned)K), 32 * row_warps, 0, dqkv, dy,
           delta, lse, qkv, ragged, (int)N, H, K, D, (float)scale);
}

template <class T> void install_attention(Ops& ops) {
    ops.attention_forward = attention_forward<T>;
    ops.attention_backward = attention_backward<T>;
}
template void install_attention<float>(Ops&);
template void install_attention<bf16>(Ops&);

} // namespace gpu
