#pragma once
// Attention of training in tiles, in two forms: by mma.sync, and by wgmma on Hopper. The formulas are attention.cu's.

#include "tiles.cuh"

#include <algorithm>

namespace gpu {

struct AttentionShape {
    RaggedView ragged;
    int H, K, width; // width: of a head
    float scale;
    const int* order = nullptr; // of the blocks' work, by attention_order_kernel
    __device__ __forceinline__ int64_t row_width() const { return (int64_t)(H + 2 * K) * width; }
};

// What backward needs of a query row and head.
struct RowStats {
    float lse, delta; // lse in base 2
};

// Keys and values of one head, tokens 0 .. end-1 of a sequence; key: row 0 of the batch.
struct KeyRows {
    const bf16* key;
    int to_values, row_width, end;
};

// A block's own rows: of a team (a warp of 16 rows, or on Hopper a warpgroup of 64) for each part of them.
template <bool hopper> constexpr int team_rows = hopper ? 64 : 16;
template <bool hopper> constexpr int own_rows = hopper ? 128 : tile_rows;
template <bool hopper> constexpr int block_threads = hopper ? 256 : tile_threads;
template <bool hopper> using ProductsOf = std::conditional_t<hopper, wgmma::Products, WarpProducts>;
// How a kernel is cut: rows of the tiles that pass by (fewer where accumulators leave few registers), and
// whether a tile's last product runs on beside the next tile (on Hopper, where there are registers for it).
enum class Kernel { forward, dq, dkv };
template <Kernel kernel, int D, bool hopper> struct Plan {
    static constexpr bool forward = kernel == Kernel::forward;
    static constexpr int passing = !forward && D > 64 && !hopper ? 32 : 64;
    static constexpr bool late = hopper && (kernel != Kernel::dq || D > 64);
    static constexpr int buffers = late ? 3 : 2;
    // Whether the next tile's copies start after a tile's first products, not before.
    static constexpr bool copies_after = hopper && (forward || (kernel == Kernel::dq) == (D > 64));
    static constexpr int own = tile_size<D, own_rows<hopper>>, tile = tile_size<D, passing>;
    static constexpr int stats = kernel == Kernel::dkv ? buffers * passing : 0;
    static constexpr size_t shared_bytes =
        ((forward ? 1 : 2) * own + 2 * buffers * tile) * sizeof(bf16) + stats * sizeof(RowStats);
    // of a multiprocessor, for which registers are to be had
    static constexpr int blocks = hopper && (D > 64 || kernel == Kernel::dkv) ? 1
                                  : forward && D <= 64 && !hopper             ? 3
                                                                              : 2;
};

// What the blocks of the three kernels have in common: a tile of a sequence's own rows. A thread has two rows
// of it: r = 0, 1.
template <bool hopper> struct TileBlock {
    const AttentionShape* shape;
    Sequence s;
    int number, first;  // of the sequence; its own row that the tile begins with
    int lane, warp_row; // of the thread; the tile's row that its warp begins with
    int team_row;       // and its team

    __device__ __forceinline__ TileBlock(const AttentionShape& shape_, int tile_number)
        : shape(&shape_), lane(threadIdx.x % 32), warp_row(threadIdx.x / 32 * 16),
          team_row(warp_row / team_rows<hopper> * team_rows<hopper>) {
        const Tile tile = tile_at(shape_.ragged, own_rows<hopper>, tile_number);
        s = sequence_at(shape_.ragged, tile.s);
        number = tile.s;
        first = tile.first;
    }
    __device__ __forceinline__ bool empty() const { return first >= s.rows; }
    __device__ __forceinline__ int last() const {
        return min(first + own_rows<hopper>, s.rows) - 1;
    }
    __device__ __forceinline__ int row(int r) const { return first + warp_row + lane / 4 + 8 * r; }
    // How many tokens the thread's rows see; rows past the sequence's end do as the last one.
    __device__ __forceinline__ Limits limits() const {
        return {s.limit(s.shared + min(row(0), last())), s.limit(s.shared + min(row(1), last()))};
    }
    // Its team's first row, and the last one there is.
    __device__ __forceinline__ int team_first() const { return first + team_row; }
    __device__ __forceinline__ int team_last() const {
        return min(first + team_row + team_rows<hopper>, s.rows) - 1;
    }
    // How many tokens every row of its team sees, and how many any of them.
    __device__ __forceinline__ int all_see() const {
        return s.limit(s.shared + min(team_first(), last()));
    }
    __device__ __forceinline__ int any_sees() const {
        return team_first() < s.rows ? s.limit(s.shared + team_last()) : 0;
    }
    // The tile's rows of one array: row n of the batch is at x + n * row_stride.
    template <int D>
    __device__ __forceinline__ void copy_own(AsyncCopies& copies, bf16* tile, const bf16* x,
                                             int64_t row_stride) const {
        each_piece<D, own_rows<hopper>, block_threads<hopper>>([&](int r, int d, unsigned place) {
            const bool valid = first + r < s.rows && d < shape->width;
            copies.copy16(tile + place, valid ? x + (s.begin + first + r) * row_stride + d : x,
                          valid);
        });
    }
    // Its team's rows of the tile as the left side of products.
    template <int D> __device__ __forceinline__ auto team(const bf16* tile) const {
        if constexpr (hopper)
            return tile_operand<D>(tile + team_row * D);
        else
            return RowsInShared<D>{tile + team_row * D};
    }
    // What its queries of head h see.
    __device__ __forceinline__ KeyRows keys_of(const bf16* qkv, int h) const {
        return {qkv + (shape->H + h / (shape->H / shape->K)) * shape->width,
                shape->K * shape->width, (int)shape->row_width(), s.limit(s.shared + last())};
    }
    template <int D, int rows>
    __device__ __forceinline__ void copy_keys(AsyncCopies& copies, bf16* keys, bf16* values,
                                              const KeyRows& of, int from) const {
        each_piece<D, rows, block_threads<hopper>>([&](int r, int d, unsigned place) {
            const bool valid = from + r < of.end && d < shape->width;
            const bf16* key = valid ? of.key + s.row(from + r) * of.row_width + d : of.key;
            copies.copy16(keys + place, key, valid);
            copies.copy16(values + place, key + of.to_values, valid);
        });
        copies.commit();
    }
};

// Block: y of a tile of queries of one head.   grid: (H, tiles)
template <int D, bool hopper>
__global__ void __launch_bounds__(block_threads<hopper>, Plan<Kernel::forward, D, hopper>::blocks)
    attention_forward_tiles_kernel(bf16* __restrict__ y_, float* __restrict__ lse,
                                   const bf16* __restrict__ qkv, AttentionShape shape) {
    if constexpr (hopper && !wgmma::present) return;
    DYN_SHARED(bf16, memory);
    using P = Plan<Kernel::forward, D, hopper>;
    constexpr int passing = P::passing, own = P::own, tile = P::tile;
    bf16 *queries = memory, *keys = queries + own, *values = keys + P::buffers * tile;
    const TileBlock<hopper> block(shape, shape.order[blockIdx.y]);
    if (block.empty()) return;
    const Sequence& s = block.s;
    const int h = blockIdx.x;
    const KeyRows seen_keys = block.keys_of(qkv, h);

    AsyncCopies copies;
    block.template copy_own<D>(copies, queries, qkv + h * shape.width, shape.row_width());
    auto copy = [&](KeyTiles at, int into) {
        block.template copy_keys<D, passing>(copies, keys + into * tile, values + into * tile,
                                             seen_keys, at.t * passing);
    };
    const KeyTiles first = {0, (seen_keys.end + passing - 1) / passing};
    copy(first, 0);
    const auto own_queries = block.template team<D>(queries);

    const int all_see = block.all_see(), any_sees = block.any_sees();
    ProductsOf<hopper> products;
    float y[D / 8][4] = {};
    Softmax softmax;
    LastProduct<P::late, D, passing, ProductsOf<hopper>> last{products, y, values};
    constexpr int batches = P::late ? 1 : 0; // of it
    auto work = [&](KeyTiles at, int buffer, auto copy_next) {
        const int from = at.t * passing;
        if (from >= any_sees) return copy_next();
        float p[passing / 8][4]; // S, then P
        products.begin();
        multiply_rows<D>(products, p, own_queries, keys + buffer * tile);
        products.commit();
        last.of_tile_before();
        copy_next();
        products.template wait<batches>(p);
        if (from + passing > all_see) mask_columns(p, block.limits(), from);
        softmax.weights_of(p, shape.scale * log2_e);
        products.hold(p, shape.H < 0);
        products.template wait<0>(y);
        if (softmax.grown()) softmax.rescale_rows(y);
        last.of_tile(p, buffer);
    };
    buffered<P::buffers, P::copies_after>(copies, products, first, copy, work);
    last.of_last_tile();

    UNROLL for (int r = 0; r < 2; ++r) {
        const float sum = quad_sum(softmax.l[r]), inverse = 1 / sum;
        if (block.row(r) >= s.rows) continue;
        const int64_t row_head = (int64_t)(s.begin + block.row(r)) * shape.H + h;
        each_pair<D>(y, r, shape.width, [&](int d, float a, float b) {
            put_pair(y_ + row_head * shape.width + d, a * inverse, b * inverse, false);
        });
        if (block.lane % 4 == 0) lse[row_head] = softmax.m[r] * ln_2 + logf(sum);
    }
}

// Block: dq of a tile of queries of one head, over the keys they see, and the stats of its rows.
// grid: (H, tiles)
template <int D, bool hopper>
__global__ void __launch_bounds__(block_threads<hopper>, Plan<Kernel::dq, D, hopper>::blocks)
    attention_dq_tiles_kernel(bf16* __restrict__ dqkv, bool add, RowStats* __restrict__ stats,
                              const bf16* __restrict__ dy_, const bf16* __restrict__ y,
                              const float* __restrict__ lse_, const bf16* __restrict__ qkv,
                              AttentionShape shape) {
    if constexpr (hopper && !wgmma::present) return;
    DYN_SHARED(bf16, memory);
    using P = Plan<Kernel::dq, D, hopper>;
    constexpr int passing = P::passing, own = P::own, tile = P::tile;
    bf16 *queries = memory, *dy = queries + own, *keys = dy + own,
         *values = keys + P::buffers * tile;
    const TileBlock<hopper> block(shape, shape.order[blockIdx.y]);
    if (block.empty()) return;
    const Sequence& s = block.s;
    const int h = blockIdx.x;
    const KeyRows seen_keys = block.keys_of(qkv, h);

    AsyncCopies copies;
    block.template copy_own<D>(copies, queries, qkv + h * shape.width, shape.row_width());
    block.template copy_own<D>(copies, dy, dy_ + h * shape.width, (int64_t)shape.H * shape.width);
    auto copy = [&](KeyTiles at, int into) {
        block.template copy_keys<D, passing>(copies, keys + into * tile, values + into * tile,
                                             seen_keys, at.t * passing);
    };
    const KeyTiles first = {0, (seen_keys.end + passing - 1) / passing};
    copy(first, 0);

    float lse[2], delta[2] = {};
    UNROLL for (int r = 0; r < 2; ++r) { // rows past the sequence's end do as the last one
        const int row = min(block.row(r), block.last());
        const int64_t row_head = (int64_t)(s.begin + row) * shape.H + h;
        lse[r] = lse_[row_head] * log2_e;
        UNROLL for (int d = 0; d < D; d += 32) {
            const int at = d + block.lane % 4 * 8;
            if (at >= shape.width) continue;
            const Floats<8> a = load<8>(dy_ + row_head * shape.width + at),
                            b = load<8>(y + row_head * shape.width + at);
            UNROLL for (int i = 0; i < 8; ++i) delta[r] += a.v[i] * b.v[i];
        }
        delta[r] = quad_sum(delta[r]);
        if (block.row(r) == row && block.lane % 4 == 0) stats[row_head] = {lse[r], delta[r]};
    }
    const int all_see = block.all_see(), any_sees = block.any_sees();
    const float scale_log2 = shape.scale * log2_e;
    const auto own_queries = block.template team<D>(queries);
    const auto own_dy = block.template team<D>(dy);
    ProductsOf<hopper> products;
    float dq[D / 8][4] = {};
    LastProduct<P::late, D, passing, ProductsOf<hopper>> last{products, dq, keys};
    constexpr int batches = P::late ? 1 : 0; // of it
    auto work = [&](KeyTiles at, int buffer, auto copy_next) {
        const int from = at.t * passing;
        if (from >= any_sees) return copy_next();
        float p[passing / 8][4], ds[passing / 8][4]; // S, then P; dP, then dS
        products.begin();
        multiply_rows<D>(products, p, own_queries, keys + buffer * tile);
        products.commit();
        multiply_rows<D>(products, ds, own_dy, values + buffer * tile);
        products.commit();
        last.of_tile_before();
        copy_next();
        products.template wait<1 + batches>(p);
        if (from + passing > all_see) mask_columns(p, block.limits(), from);
        UNROLL for (int j = 0; j < passing / 8; ++j) UNROLL for (int i = 0; i < 4; ++i) {
            p[j][i] = exp2_approximate(p[j][i] * scale_log2 - lse[i / 2]);
        }
        products.template wait<batches>(ds);
        UNROLL for (int j = 0; j < passing / 8; ++j) UNROLL for (int i = 0; i < 4; ++i) {
            ds[j][i] = p[j][i] * (ds[j][i] - delta[i / 2]);
        }
        products.template wait<0>(dq);
        last.of_tile(ds, buffer);
    };
    buffered<P::buffers, P::copies_after>(copies, products, first, copy, work);
    last.of_last_tile();

    UNROLL for (int r = 0; r < 2; ++r) {
        if (block.row(r) >= s.rows) continue;
        bf16* to = dqkv + (s.begin + block.row(r)) * shape.row_width() + h * shape.width;
        each_pair<D>(dq, r, shape.width, [&](int d, float a, float b) {
            put_pair(to + d, shape.scale * a, shape.scale * b, add);
        });
    }
}

// The keys of a prompt that answers share are seen by all of them: such a tile is work for several blocks, each
// with some query heads of the group. The last of them adds up the sums of all, in their order.
struct KeyParts {
    int parts;    // blocks per such a tile and key/value head; 1: none is shared out
    float* sums;  // (tiles, K, parts, 2 D of own rows), in a thread's order
    int* tickets; // (tiles, K)
};
// What a block of dk and dv has to do, as attention_order_kernel writes it: a tile, and all query heads (part -1)
// or a part of them; nothing: -1.
struct KeyWork {
    int tile, part;
    __device__ __forceinline__ KeyWork(int entry, int parts)
        : tile(entry / (parts + 1)), part(entry % (parts + 1) - 1) {}
    static __device__ __forceinline__ int entry(int tile, int part, int parts) {
        return tile * (parts + 1) + part + 1;
    }
};

// The tiles of queries that see a tile of keys: of the keys' own sequence, then of those whose parent it is;
// for the query heads first_g .. end_g-1 of the group.
template <int rows> struct QueryTiles {
    const AttentionShape* shape;
    int own, first_query; // of the own sequence: the first tile that sees a key
    int first_g, end_g;
    int s, g, first; // where it stands
    Sequence sequence;

    __device__ __forceinline__ QueryTiles(const AttentionShape& shape_, int own_, int first_query_,
                                          int first_g_, int end_g_)
        : shape(&shape_), own(own_), first_query(first_query_), first_g(first_g_), end_g(end_g_),
          s(own_), g(first_g_), first(first_query_), sequence(sequence_at(shape_.ragged, own_)) {}
    __device__ __forceinline__ bool done() const { return s >= shape->ragged.sequences; }
    __device__ __forceinline__ void next() {
        first += rows;
        if (first < sequence.rows) return;
        first = s == own ? first_query : 0;
        if (++g < end_g) return;
        g = first_g, first = 0;
        if (!shape->ragged.parent) s = shape->ragged.sequences - 1;
        do {
            ++s;
        } while (!done() && !(shape->ragged.parent[s] == own &&
                              shape->ragged.begin[s + 1] > shape->ragged.begin[s]));
        if (!done()) sequence = sequence_at(shape->ragged, s);
    }
};

// Block: dk and dv of a tile of keys of one key/value head, over the queries that see them. Scores are kept
// transposed, keys by queries: then both sums take them from registers as they are.   grid: (K, tiles * parts)
template <int D, bool hopper>
__global__ void __launch_bounds__(block_threads<hopper>, Plan<Kernel::dkv, D, hopper>::blocks)
    attention_dkv_tiles_kernel(bf16* __restrict__ dqkv, bool add, const bf16* __restrict__ dy_,
                               const RowStats* __restrict__ stats_, const bf16* __restrict__ qkv,
                               AttentionShape shape, KeyParts shared) {
    if constexpr (hopper && !wgmma::present) return;
    DYN_SHARED(bf16, memory);
    using P = Plan<Kernel::dkv, D, hopper>;
    constexpr int passing = P::passing, own = P::own, tile = P::tile;
    bf16 *keys = memory, *values = keys + own, *queries = values + own,
         *dy = queries + P::buffers * tile;
    RowStats* stats = reinterpret_cast<RowStats*>(dy + P::buffers * tile); // (buffers, passing)
    if (shape.order[blockIdx.y] < 0) return;
    const KeyWork assigned(shape.order[blockIdx.y], shared.parts);
    const TileBlock<hopper> block(shape, assigned.tile);
    if (block.empty()) return;
    const Sequence& s = block.s;
    const int head = blockIdx.x, W = shape.width, group = shape.H / shape.K;

    AsyncCopies copies;
    block.template copy_own<D>(copies, keys, qkv + (shape.H + head) * W, shape.row_width());
    block.template copy_own<D>(copies, values, qkv + (shape.H + shape.K + head) * W,
                               shape.row_width());
    auto copy = [&](const QueryTiles<passing>& at, int into) {
        const int h = head * group + at.g;
        auto row_head = [&](int r) {
            return ((int64_t)at.sequence.begin + at.first + r) * shape.H + h;
        };
        each_piece<D, passing, block_threads<hopper>>([&](int r, int d, unsigned place) {
            const bool valid = at.first + r < at.sequence.rows && d < W;
            const int64_t row = at.sequence.begin + at.first + r;
            copies.copy16(queries + into * tile + place,
                          valid ? qkv + row * shape.row_width() + h * W + d : qkv, valid);
            copies.copy16(dy + into * tile + place, valid ? dy_ + row_head(r) * W + d : dy_, valid);
        });
        const int r = threadIdx.x;
        if (r < passing) { // rows of zeros add nothing
            const bool valid = at.first + r < at.sequence.rows;
            copies.copy8(stats + into * passing + r, valid ? stats_ + row_head(r) : stats_, valid);
        }
        copies.commit();
    };
    const int first_query = s.shared + block.first < s.prefix ? 0 : block.first / passing * passing;
    const bool whole = assigned.part < 0;
    const QueryTiles<passing> first(shape, block.number, first_query,
                                    whole ? 0 : group * assigned.part / shared.parts,
                                    whole ? group : group * (assigned.part + 1) / shared.parts);
    copy(first, 0);

    const float scale_log2 = shape.scale * log2_e;
    const auto own_keys = block.template team<D>(keys);
    const auto own_values = block.template team<D>(values);
    ProductsOf<hopper> products;
    float dk[D / 8][4] = {}, dv[D / 8][4] = {};
    LastProduct<P::late, D, passing, ProductsOf<hopper>> last{products, dk, queries};
    constexpr int batches = P::late ? 1 : 0; // of it
    auto work = [&](const QueryTiles<passing>& at, int buffer, auto copy_next) {
        if (block.team_first() >= s.rows) return copy_next();
        const int lane_column = block.lane % 4 * 2;
        auto of_pair = [&](int j) { // lse, delta; lse, delta of two neighbouring queries
            return *reinterpret_cast<const float4*>(stats + buffer * passing + j * 8 + lane_column);
        };
        float p[passing / 8][4], ds[passing / 8][4]; // S, then P; dP, then dS
        products.begin();
        multiply_rows<D>(products, p, own_keys, queries + buffer * tile);
        products.commit();
        multiply_rows<D>(products, ds, own_values, dy + buffer * tile);
        products.commit();
        last.of_tile_before();
        copy_next();
        products.template wait<1 + batches>(p);
        // Some of the own sequence's queries do not see all of the team's keys; those of others do.
        if (at.s == block.number && s.shared + block.team_last() >= s.limit(s.shared + at.first))
            UNROLL for (int j = 0; j < passing / 8; ++j) UNROLL for (int i = 0; i < 4; ++i) {
                const int query = at.first + j * 8 + lane_column + i % 2;
                if (s.shared + block.row(i / 2) >= s.limit(s.shared + query)) p[j][i] = -INFINITY;
            }
        UNROLL for (int j = 0; j < passing / 8; ++j) {
            const float4 of = of_pair(j);
            UNROLL for (int i = 0; i < 4; ++i) {
                p[j][i] = exp2_approximate(p[j][i] * scale_log2 - (i % 2 ? of.z : of.x));
            }
        }
        const Rounded weights(p);
        products.begin();
        add_product<D>(products, dv, weights, dy + buffer * tile);
        products.commit();
        products.template wait<1>(ds, dk);
        UNROLL for (int j = 0; j < passing / 8; ++j) {
            const float4 of = of_pair(j);
            UNROLL for (int i = 0; i < 4; ++i) {
                ds[j][i] = p[j][i] * (ds[j][i] - (i % 2 ? of.w : of.y));
            }
        }
        products.hold(ds, shape.H < 0);
        products.template wait<0>(dv);
        last.of_tile(ds, buffer);
    };
    buffered<P::buffers, P::copies_after>(copies, products, first, copy, work);
    last.of_last_tile();

    if (!whole) {
        constexpr int threads = block_threads<hopper>;
        const int place = assigned.tile * shape.K + head;
        float4* sums = reinterpret_cast<float4*>(shared.sums) +
                       (int64_t)place * shared.parts * (D / 4) * threads + threadIdx.x;
        auto at = [&](int part, int i) { return sums + (part * (D / 4) + i) * threads; };
        UNROLL for (int j = 0; j < D / 8; ++j) {
            *at(assigned.part, j) = make_float4(dk[j][0], dk[j][1], dk[j][2], dk[j][3]);
            *at(assigned.part, D / 8 + j) = make_float4(dv[j][0], dv[j][1], dv[j][2], dv[j][3]);
        }
        if (!is_last_block(shared.tickets + place, shared.parts)) return;
        UNROLL for (int j = 0; j < D / 8; ++j) {
            auto sum_of = [&](float(&sum)[4], int i) {
                UNROLL for (int k = 0; k < 4; ++k) sum[k] = 0;
                for (int part = 0; part < shared.parts; ++part) {
                    const float4 x = __ldcg(at(part, i));
                    sum[0] += x.x, sum[1] += x.y, sum[2] += x.z, sum[3] += x.w;
                }
            };
            sum_of(dk[j], j);
            sum_of(dv[j], D / 8 + j);
        }
    }
    UNROLL for (int r = 0; r < 2; ++r) {
        if (block.row(r) >= s.rows) continue;
        bf16* to = dqkv + (s.begin + block.row(r)) * shape.row_width() + (shape.H + head) * W;
        each_pair<D>(dk, r, W, [&](int d, float a, float b) {
            put_pair(to + d, shape.scale * a, shape.scale * b, add);
        });
        to += shape.K * W;
        each_pair<D>(dv, r, W, [&](int d, float a, float b) { put_pair(to + d, a, b, add); });
    }
}

// The blocks' work, what takes long first: then the blocks that start last end soon, and no multiprocessor works on
// alone. Among equals the order is any. Block 0: tiles of queries; block 1: KeyWork, behind them.
constexpr int order_threads = 1024;
template <int rows>
__global__ void __launch_bounds__(order_threads)
    attention_order_kernel(int* __restrict__ order, RaggedView ragged, int tiles, int parts,
                           int shared_tiles) {
    __shared__ int place[2][order_threads]; // of the next entry of a slot
    const bool of_keys = blockIdx.x == 1;
    const int count = of_keys ? tiles * parts : tiles;
    struct Work {
        int seen, entry; // rows that pass by
    };
    auto work_of = [&](int n) -> Work {
        const int number = of_keys ? n / parts : n, part = of_keys ? n % parts : 0;
        const Tile tile = tile_at(ragged, rows, number);
        const Sequence s = sequence_at(ragged, tile.s);
        const int none = of_keys ? -1 : number;
        if (tile.first >= s.rows) return {0, none};
        if (!of_keys) return {s.limit(s.shared + min(tile.first + rows, s.rows) - 1), number};
        const int seen = s.rows - (s.shared + tile.first < s.prefix ? 0 : tile.first);
        int of_answers = 0;
        for (int other = tile.s + 1; ragged.parent && other < ragged.sequences; ++other)
            if (ragged.parent[other] == tile.s) of_answers += sequence_at(ragged, other).rows;
        if (of_answers && parts > 1 && number < shared_tiles)
            return {(seen + of_answers) / parts + 1, KeyWork::entry(number, part, parts)};
        if (part) return {0, none};
        return {seen + of_answers, KeyWork::entry(number, -1, parts)};
    };
    auto slot_of = [](const Work& work) {
        return order_threads - 1 - min((work.seen + 63) / 64, order_threads - 1);
    };
    const int thread = threadIdx.x;
    place[0][thread] = 0;
    __syncthreads();
    for (int n = thread; n < count; n += order_threads)
        atomicAdd(&place[0][slot_of(work_of(n))], 1);
    __syncthreads();
    int from = 0; // then place[from]: up to and with each slot
    for (int step = 1; step < order_threads; step *= 2, from = 1 - from) {
        place[1 - from][thread] =
            place[from][thread] + (thread >= step ? place[from][thread - step] : 0);
        __syncthreads();
    }
    place[1 - from][thread] = thread ? place[from][thread - 1] : 0;
    __syncthreads();
    for (int n = thread; n < count; n += order_threads) {
        const Work work = work_of(n);
        order[of_keys * tiles + atomicAdd(&place[1 - from][slot_of(work)], 1)] = work.entry;
    }
}

template <int D, bool hopper>
static void forward_tiles(const char* op, bf16* y, float* lse, const bf16* qkv, int64_t N,
                          AttentionShape shape) {
    const unsigned count = tile_count(N, own_rows<hopper>, shape.ragged.sequences);
    int* order = static_cast<int*>(scratch(count * sizeof(int)));
    launch(op, attention_order_kernel<own_rows<hopper>>, 1, order_threads, 0, order, shape.ragged,
           (int)count, 1, 0);
    shape.order = order;
    launch(op, attention_forward_tiles_kernel<D, hopper>, dim3((unsigned)shape.H, count),
           block_threads<hopper>, Plan<Kernel::forward, D, hopper>::shared_bytes, y, lse, qkv,
           shape);
}

template <int D, bool hopper>
static void backward_tiles(const char* op, bf16* dqkv, bool add, const bf16* dy, const bf16* y,
                           const float* lse, const bf16* qkv, int64_t N, AttentionShape shape) {
    const int count = (int)tile_count(N, own_rows<hopper>, shape.ragged.sequences);
    const int parts = shape.ragged.parent ? std::min(shape.H / shape.K, 4) : 1;
    const size_t tile_sums = (size_t)shape.K * parts * own_rows<hopper> * 2 * D * sizeof(float);
    constexpr size_t most_sums = 256 << 20; // bytes; of tiles beyond, one block does all heads
    const int shared_tiles = parts > 1
                                 ? (int)std::min<size_t>({(size_t)count, most_sums / tile_sums,
                                                          (size_t)(most_tickets / shape.K)})
                                 : 0;
    const size_t sums_bytes = shared_tiles * tile_sums;
    const size_t stats_bytes = N * shape.H * sizeof(RowStats);
    char* memory = static_cast<char*>(
        scratch(sums_bytes + stats_bytes + (size_t)count * (1 + parts) * sizeof(int)));
    const KeyParts shared = {parts, reinterpret_cast<float*>(memory), context().tickets};
    auto* stats = reinterpret_cast<RowStats*>(memory + sums_bytes);
    int* order = reinterpret_cast<int*>(memory + sums_bytes + stats_bytes);
    launch(op, attention_order_kernel<own_rows<hopper>>, 2, order_threads, 0, order, shape.ragged,
           count, parts, shared_tiles);
    shape.order = order;
    launch(op, attention_dq_tiles_kernel<D, hopper>, dim3((unsigned)shape.H, (unsigned)count),
           block_threads<hopper>, Plan<Kernel::dq, D, hopper>::shared_bytes, dqkv, add, stats, dy,
           y, lse, qkv, shape);
    shape.order = order + count;
    launch(op, attention_dkv_tiles_kernel<D, hopper>,
           dim3((unsigned)shape.K, (unsigned)(count * parts)), block_threads<hopper>,
           Plan<Kernel::dkv, D, hopper>::shared_bytes, dqkv, add, dy, stats, qkv, shape, shared);
}

} // namespace gpu
