// Attention of one new token per sequence over the key/value cache, and writing
// to the cache.
//
// A block takes a part of a sequence's keys; of several the last to finish puts the
// parts together, in order. Few sequences are cut into parts of up to 256 keys, so that
// one long sequence fills the device, too, and a sequence's result does not depend on
// the others; many are cut into fewer parts. Blocks of one head lie side by side over the
// batch: samples of one prompt read its pages at about the same time, from the L2 cache.

#include "cache.cuh"
#include "rows.cuh"
#include "tiles.cuh"

#include <algorithm>

namespace gpu {

constexpr int pages_per_split = 4; // of long sequences, at least

struct CacheView {
    const int* pages;  // (B, max_pages)
    const int* length; // (B)
    int max_pages;
};

// A thread writes one piece of a key or value.
template <class T, int W>
__global__ void __launch_bounds__(256)
    kv_write_kernel(T* __restrict__ keys, T* __restrict__ values, const T* __restrict__ qkv,
                    const int* __restrict__ slots, int64_t threads, int H, int K, int D) {
    const int64_t thread = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (thread >= threads) return;
    const int per_row = 2 * K * D / W; // keys of all heads, then values
    const int64_t n = thread / per_row;
    const int c = (int)(thread % per_row) * W, head = c / D;
    const int slot = slots[n];
    if (slot < 0) return;
    T* to = head < K ? keys : values;
    store(to + cache_row(slot, head % K, K, D) + c % D,
          load<W>(qkv + n * (H + 2 * K) * D + H * D + c));
}

// Page to[y] = page from[y] of both arrays. Part: uint4 or one element; size:
// parts per page
template <class Part>
__global__ void __launch_bounds__(256)
    kv_copy_kernel(Part* keys, Part* values, const int* __restrict__ to,
                   const int* __restrict__ from, int64_t size) {
    const int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
    const int target = to[blockIdx.y], source = from[blockIdx.y];
    if (i >= size || target == source) return;
    keys[target * size + i] = keys[source * size + i];
    values[target * size + i] = values[source * size + i];
}

// ---- tiles
// --------------------------------------------------------------------------------------

// A part of a row: y / l, m and l as attention.cu has them, in base 2.
struct Parts {
    float* y;     // (B, H, splits, D): y / l
    float* stats; // (B, H, splits, 2): m, l
    int* tickets; // (B, K * chunks of 16 heads)
    int splits, split_pages;
};

// Four neighbouring channels.
__device__ __forceinline__ Floats<4> scaled(float4 x, float by) {
    return {x.x * by, x.y * by, x.z * by, x.w * by};
}
__device__ __forceinline__ void add(Floats<4>& sum, const Floats<4>& more) {
    UNROLL for (int i = 0; i < 4; ++i) sum.v[i] += more.v[i];
}

// The sums of the block's four warps over their keys, in order: four channels
// of one row. y(w): warp w's
struct Merged {
    float m, l;
    Floats<4> y; // y / l
};
template <class Y>
__device__ __forceinline__ Merged merge_warps(const float (&m)[4][16], const float (&l)[4][16],
                                              int row, Y y) {
    Merged all = {m[0][row], 0, {}};
    UNROLL for (int w = 1; w < 4; ++w) all.m = fmaxf(all.m, m[w][row]);
    UNROLL for (int w = 0; w < 4; ++w) {
        const float rescale = exp2_approximate(m[w][row] - all.m);
        all.l += rescale * l[w][row];
        add(all.y, scaled(y(w), rescale));
    }
    const float share = 1 / all.l;
    UNROLL for (int i = 0; i < 4; ++i) all.y.v[i] *= share;
    return all;
}

// Four channels of a row from its parts, in order. stats(i): m and l of part i;
// y(i): its channels
template <class Stats, class Y>
__device__ __forceinline__ Floats<4> add_parts(int splits, Stats stats, Y y) {
    float m = -INFINITY, l = 0;
    Floats<4> sum = {};
    UNROLL_BY(4) for (int i = 0; i < splits; ++i) m = fmaxf(m, stats(i).x);
    UNROLL_BY(4) for (int i = 0; i < splits; ++i) {
        const float2 of = stats(i);
        const float weight = exp2_approximate(of.x - m) * of.y;
        l += weight;
        add(sum, scaled(y(i), weight));
    }
    UNROLL for (int i = 0; i < 4; ++i) sum.v[i] /= l;
    return sum;
}

__device__ __forceinline__ void store4(bf16* to, const Floats<4>& x) {
    Word* words = reinterpret_cast<Word*>(to);
    words[0] = pack_halves(x.v[0], x.v[1]);
    words[1] = pack_halves(x.v[2], x.v[3]);
}

// A warp's 16 query rows as the left side of a product, in registers; rows from
// `count` on and channels from `width` on are zero.
template <int D> struct RowsInRegisters {
    unsigned words[D / 16][4];
    __device__ __forceinline__ void load(const bf16* first, int count, int width) {
        const int g = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
        UNROLL for (int i = 0; i < D / 16; ++i) UNROLL for (int k = 0; k < 4; ++k) {
            const int r = g + k % 2 * 8, d = i * 16 + k / 2 * 8 + 2 * q;
            words[i][k] = 0;
            if (r < count && d < width)
                words[i][k] = *reinterpret_cast<const Word*>(first + r * width + d);
        }
    }
    __device__ __forceinline__ void piece(unsigned (&to)[4], int d) const {
        UNROLL for (int k = 0; k < 4; ++k) to[k] = words[d / 16][k];
    }
};

// Pages of which a warp's 16 keys and values are on their way: with narrow heads four
// blocks fit on a multiprocessor.
constexpr int pages_ahead = 3;

// Block: the query heads of one key/value head (16 at most at once) of one
// sequence, over split_pages pages. A warp takes 16 keys of every page, which it
// copies to places of its own: no warp waits for another before the end. All
// pages but the last, which has the token's own key, were there before the step
// began: their copies start before the launches before this one have ended.
// grid: (B, K * chunks of 16 heads, splits)
template <int D>
__global__ void __launch_bounds__(tile_threads)
    decode_tiles_kernel(bf16* y, Parts parts, const bf16* qkv, const bf16* keys, const bf16* values,
                        CacheView cache, int H, int K, int width, float scale) {
    DYN_SHARED(bf16, memory);
    constexpr int ahead = pages_ahead, tile = tile_size<D, 16>;
    __shared__ float warp_m[4][16], warp_l[4][16];

    let_next_launch_begin();
    const int b = blockIdx.x, group = H / K, chunks = (group + 15) / 16;
    const int head = blockIdx.y / chunks, first_query = blockIdx.y % chunks * 16;
    const int count = min(16, group - first_query); // query heads
    const int h = head * group + first_query, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int split = blockIdx.z, first_page = split * parts.split_pages;
    const int* table = cache.pages + (int64_t)b * cache.max_pages;
    // of the next page to be copied; those behind the sequence's end mean nothing
    auto page_number = [&](int t) { return table[min(first_page + t, cache.max_pages - 1)]; };
    int number[ahead];
    UNROLL for (int t = 0; t < ahead; ++t) number[t] = page_number(t);
    const int length = cache.length[b], all_pages = (length + page_tokens - 1) / page_tokens;
    const int splits = (all_pages + parts.split_pages - 1) / parts.split_pages;
    const int pages = min(parts.split_pages, all_pages - first_page);
    if (pages <= 0) { // nothing here; without any token y is 0
        wait_for_earlier_launches();
        if (split == 0)
            for (int i = threadIdx.x; i < count * width; i += tile_threads)
                y[((int64_t)b * H + h) * width + i] = from_float<bf16>(0);
        return;
    }

    bf16* const own = memory + warp * (2 * ahead * tile); // keys, then values, of each page
    AsyncCopies copies;
    auto copy_page = [&](int t, int into, int of_page) {
        if (first_page + t == all_pages - 1) wait_for_earlier_launches();
        const int left = length - (first_page + t) * page_tokens - warp * 16;
        const int64_t from = (((int64_t)of_page * K + head) * page_tokens + warp * 16) * width;
        UNROLL for (int i = 0; i < D / 16; ++i) {
            const int at = i * 32 + lane, r = at / (D / 8), d = at % (D / 8) * 8;
            const bool there = r < left && d < width; // what was never written stays out
            const int64_t piece = there ? from + r * width + d : 0;
            bf16* to = own + into * 2 * tile + place<D>(r, d);
            copies.copy16(to, keys + piece, there);
            copies.copy16(to + tile, values + piece, there);
        }
    };
    UNROLL for (int t = 0; t < ahead; ++t) {
        if (t < pages) copy_page(t, t, number[t]);
        copies.commit();
    }
    wait_for_earlier_launches();
    RowsInRegisters<D> queries;
    queries.load(qkv + ((int64_t)b * (H + 2 * K) + h) * width, count, width);

    float sum[D / 8][4] = {};
    Softmax softmax;
    WarpProducts products;
    int next = page_number(ahead);
    for (int t = 0, slot = 0; t < pages; ++t, slot = slot + 1 < ahead ? slot + 1 : 0) {
        copies.wait<ahead - 1>();
        __syncwarp();
        const bf16* const tiles = own + slot * 2 * tile;
        float p[2][4];
        multiply_rows<D>(products, p, queries, tiles);
        mask_columns(p, {length, length}, (first_page + t) * page_tokens + warp * 16);
        softmax.weights_of(p, scale * log2_e);
        softmax.rescale_rows(sum);
        add_product<D>(products, sum, Rounded(p), tiles + tile);
        __syncwarp(); // the next copy overwrites these
        if (t + ahead < pages) {
            copy_page(t + ahead, slot, next);
            next = page_number(t + ahead + 1);
        }
        copies.commit();
    }

    // The warp's sums over its keys lie where its keys did.
    float* const sums = reinterpret_cast<float*>(own);
    UNROLL for (int r = 0; r < 2; ++r) {
        const int row = lane / 4 + 8 * r;
        const float all = quad_sum(softmax.l[r]);
        if (lane % 4 == 0) warp_m[warp][row] = softmax.m[r], warp_l[warp][row] = all;
        if (row < count)
            each_pair<D>(sum, r, width, [&](int d, float first, float second) {
                *reinterpret_cast<float2*>(sums + row * D + d) = make_float2(first, second);
            });
    }
    __syncthreads();
    const int64_t row_head = (int64_t)b * H + h;
    const int fours = width / 4; // of a row
    for (int i = threadIdx.x; i < count * fours; i += tile_threads) {
        const int row = i / fours, d = i % fours * 4;
        const Merged part = merge_warps(warp_m, warp_l, row, [&](int w) {
            const bf16* of_warp = memory + w * (2 * ahead * tile);
            return *reinterpret_cast<const float4*>(reinterpret_cast<const float*>(of_warp) +
                                                    row * D + d);
        });
        if (splits == 1) {
            store4(y + (row_head + row) * width + d, part.y);
            continue;
        }
        const int64_t at = (row_head + row) * parts.splits + split;
        *reinterpret_cast<float4*>(parts.y + at * width + d) =
            make_float4(part.y.v[0], part.y.v[1], part.y.v[2], part.y.v[3]);
        if (d == 0) *reinterpret_cast<float2*>(parts.stats + at * 2) = make_float2(part.m, part.l);
    }
    if (splits == 1) return;
    if (!is_last_block(parts.tickets + b * K * chunks + blockIdx.y, splits)) return;
    for (int i = threadIdx.x; i < count * fours; i += tile_threads) {
        const int row = i / fours, d = i % fours * 4;
        const int64_t at = (row_head + row) * parts.splits; // other blocks' parts, past L1
        store4(y + (row_head + row) * width + d,
               add_parts(
                   splits,
                   [&](int s) {
                       return __ldcg(reinterpret_cast<const float2*>(parts.stats + (at + s) * 2));
                   },
                   [&](int s) {
                       return __ldcg(
                           reinterpret_cast<const float4*>(parts.y + (at + s) * width + d));
                   }));
    }
}

// ---- rows
// ---------------------------------------------------------------------------------------

template <class T>
__global__ void __launch_bounds__(32 * row_warps, 4)
    decode_rows_kernel(T* __restrict__ y, const T* __restrict__ qkv, const T* __restrict__ keys,
                       const T* __restrict__ values, CacheView cache, int B, int H, int K, int D,
                       float scale) {
    __shared__ float queries[row_warps][widest_head];
    const int warp = threadIdx.x / 32, b = blockIdx.x * row_warps + warp, h = blockIdx.y;
    if (b >= B) return; // the whole warp
    float* q = queries[warp];
    each_channel(D, [&](int, int d) {
        q[d] = to_float(qkv[((int64_t)b * (H + 2 * K) + h) * D + d]) * scale;
    });
    __syncwarp();
    auto place = [&](const T* of, int j) {
        const int64_t page = cache.pages[(int64_t)b * cache.max_pages + j / page_tokens];
        return of + ((page * K + h / (H / K)) * page_tokens + j % page_tokens) * D;
    };
    float out[channels_per_lane];
    const int length = cache.length[b];
    attend_row(
        out, q, D, length, [&](int j) { return place(keys, j); },
        [&](int j) { return place(values, j); });
    each_channel(D, [&](int i, int d) {
        y[((int64_t)b * H + h) * D + d] = from_float<T>(length > 0 ? out[i] : 0);
    });
}

// ---- the ops
// ------------------------------------------------------------------------------------

template <class T> static void kv_write(KvCache& cache, Tensor qkv_, Tensor slot_, int H, int K) {
    const char* op = "kv_write";
    const int64_t N = qkv_.shape[0], D = cache.k.shape[3];
    check_cache<T>(op, cache, K);
    const T* qkv = arg<T>(op, "qkv", qkv_, {N, (H + 2 * K) * D});
    const int* slot = arg<int>(op, "slot", slot_, {N});
    T *keys = static_cast<T*>(cache.k.data), *values = static_cast<T*>(cache.v.data);
    with_width(D % full_width == 0 && is_aligned(keys, values, qkv), [&](auto W) {
        const int64_t threads = N * (2 * K * D / W);
        launch(op, kv_write_kernel<T, W>, (unsigned)ceil_div(threads, 256), 256, 0, keys, values,
               qkv, slot, threads, H, K, (int)D);
    });
}

template <class T> static void kv_copy(KvCache& cache, Tensor to_, Tensor from_, int count) {
    const char* op = "kv_copy";
    check_cache<T>(op, cache, cache.k.shape[1]);
    CHECK(to_.shape[0] >= count && from_.shape[0] >= count,
          "%s: %d pages, but the lists are %s and %s", op, count, shape_text(to_).c_str(),
          shape_text(from_).c_str());
    const int* to = arg<int>(op, "to", to_, {to_.shape[0]});
    const int* from = arg<int>(op, "from", from_, {from_.shape[0]});
    const int64_t bytes = cache.k.shape[1] * page_tokens * cache.k.shape[3] * sizeof(T);
    // 64 tokens of anything are a multiple of 16 bytes
    launch(op, kv_copy_kernel<uint4>, dim3((unsigned)ceil_div(bytes / 16, 256), (unsigned)count),
           256, 0, (uint4*)cache.k.data, (uint4*)cache.v.data, to, from, bytes / 16);
}

// So many blocks keep a device busy.
constexpr int64_t busy_blocks = 256;
// Up to so many sequences are split in one way, whatever their number.
constexpr int64_t few_sequences = 16;

// How the longest possible sequence is split: into 8 parts, or more of 256 keys, for
// few sequences; for many into so many parts that a device is busy. Longer parts only
// where they would not fit into the scratch that is there from the start, or the
// tickets would not suffice.
static Parts plan_parts(int64_t B, int64_t rows, int64_t groups, int max_pages, int D) {
    Parts parts = {};
    parts.tickets = context().tickets;
    const int64_t shortest = std::clamp<int64_t>(ceil_div(max_pages, 8), 1, pages_per_split);
    const int64_t most = ceil_div(max_pages, shortest);
    int64_t splits = B <= few_sequences ? most : std::min(most, busy_blocks / groups);
    if (groups > most_tickets) splits = 1;
    parts.split_pages = (int)shortest;
    if (splits < most) parts.split_pages = (int)ceil_div(max_pages, std::max<int64_t>(splits, 1));
    for (;; parts.split_pages *= 2) {
        parts.splits = (int)ceil_div(max_pages, parts.split_pages);
        const size_t bytes = rows * parts.splits * (D + 2) * sizeof(float);
        if (parts.splits <= 1) return parts;
        if (bytes > first_scratch_bytes) continue;
        parts.y = static_cast<float*>(scratch(bytes));
        parts.stats = parts.y + rows * parts.splits * D;
        return parts;
    }
}

template <class T>
static void decode_attention(Tensor y_, Tensor lse, Tensor qkv_, const KvCache& cache,
                             Tensor pages_, Tensor length_, int H, int K, double scale) {
    const char* op = "decode_attention";
    CHECK(!lse, "%s: lse is the CPU's only", op);
    CHECK(K > 0 && H > 0 && H % K == 0, "%s: %d query heads are no multiple of %d key heads", op, H,
          K);
    check_cache<T>(op, cache, K);
    const int64_t B = qkv_.shape[0], max_pages = pages_.shape[1];
    const int D = (int)cache.k.shape[3];
    CHECK(D <= widest_head, "%s: heads are %d wide; this backend takes up to %d", op, D,
          widest_head);
    T* y = arg<T>(op, "y", y_, {B, H * D});
    const T* qkv = arg<T>(op, "qkv", qkv_, {B, (H + 2 * K) * D});
    const CacheView view = {arg<int>(op, "pages", pages_, {B, max_pages}),
                            arg<int>(op, "length", length_, {B}), (int)max_pages};
    const T *keys = static_cast<T*>(cache.k.data), *values = static_cast<T*>(cache.v.data);
    const bool tiles = with_tiles<T>(
        D,
        [&](auto width) {
            if constexpr (std::is_same_v<T, bf16>) {
                const unsigned groups = K * (unsigned)ceil_div(H / K, 16);
                const Parts parts = plan_parts(B, B * H, B * groups, (int)max_pages, D);
                constexpr size_t shared = 4 * pages_ahead * 2 * tile_size<width, 16> * sizeof(bf16);
                launch_overlapped(op, decode_tiles_kernel<width>,
                                  dim3((unsigned)B, groups, (unsigned)parts.splits), tile_threads,
                                  shared, y, parts, qkv, keys, values, view, H, K, D, (float)scale);
            }
        },
        qkv, keys, values);
    if (!tiles)
        launch(op, decode_rows_kernel<T>, dim3((unsigned)ceil_div(B, row_warps), (unsigned)H),
               32 * row_warps, 0, y, qkv, keys, values, view, (int)B, H, K, D, (float)scale);
}

template <class T> void install_decode(Ops& ops) {
    ops.kv_write = kv_write<T>;
    ops.kv_copy = kv_copy<T>;
    ops.decode_attention = decode_attention<T>;
}
template void install_decode<float>(Ops&);
template void install_decode<bf16>(Ops&);

} // namespace gpu
