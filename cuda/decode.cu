// Attention of one new token per sequence over the key/value cache, and writing
// to the cache. A page holds the keys (then, in v, the values) of 64 tokens,
// per head (64, D): rows in whole 16-byte pieces.
//
// The keys of a sequence are split over blocks, 256 each whatever the batch,
// and a second kernel puts the parts together in order. So a sequence's result
// does not depend on the others, and one long sequence still fills the device.
// Blocks of one split and head lie side by side over the batch: samples of one
// prompt read its pages at about the same time, from the L2 cache.

#include "rows.cuh"
#include "tiles.cuh"

namespace gpu {

constexpr int page_tokens = 64;
constexpr int pages_per_split = 4; // at least

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
    const int64_t page = slot / page_tokens, place = slot % page_tokens;
    T* to = head < K ? keys : values;
    const int64_t at = ((page * K + head % K) * page_tokens + place) * D + c % D;
    store(to + at, load<W>(qkv + n * (H + 2 * K) * D + H * D + c));
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

// Part of a row, as attention.cu has it, in base 2: y / l, m and l.
struct Parts {
    float* y;     // (B, H, splits, D): y / l
    float* stats; // (B, H, splits, 2): m, l
    int splits, split_pages;
};

// The sums of the block's four warps over their keys, in order: one channel of
// one row.
struct Merged {
    float m, l, y;
};
template <int D>
__device__ __forceinline__ Merged merge_warps(const float (&m)[4][16], const float (&l)[4][16],
                                              const float* y, int row, int d) {
    Merged all = {m[0][row], 0, 0};
    for (int w = 1; w < 4; ++w) all.m = fmaxf(all.m, m[w][row]);
    for (int w = 0; w < 4; ++w) {
        const float rescale = exp2_approximate(m[w][row] - all.m);
        all.l += rescale * l[w][row];
        all.y += rescale * y[(w * 16 + row) * D + d];
    }
    return all;
}

// Channel d of a row and head: the result, or its split's part of it.
__device__ __forceinline__ void store_part(bf16* y, const Parts& parts, const Merged& part,
                                           int64_t row_head, int split, int d, int width) {
    if (parts.splits == 1) {
        y[row_head * width + d] = from_float<bf16>(part.y / part.l);
        return;
    }
    const int64_t at = row_head * parts.splits + split;
    parts.y[at * width + d] = part.y / part.l;
    if (d == 0) {
        parts.stats[at * 2] = part.m;
        parts.stats[at * 2 + 1] = part.l;
    }
}

// Block: the query heads of one key/value head (16 at most at once) of one
// sequence, over the pages of one split. A warp takes 16 keys of every page.
// grid: (B, K * chunks of 16 heads, splits)
template <int D>
__global__ void __launch_bounds__(tile_threads)
    decode_tiles_kernel(bf16* __restrict__ y, Parts parts, const bf16* __restrict__ qkv,
                        const bf16* __restrict__ keys, const bf16* __restrict__ values,
                        CacheView cache, int H, int K, int width, float scale) {
    DYN_SHARED(bf16, memory);
    constexpr int page_tile = tile_size<D, page_tokens>;
    bf16* queries = memory; // (16, D)
    bf16* key_tiles = queries + tile_size<D, 16>;
    bf16* value_tiles = key_tiles + 2 * page_tile;
    __shared__ float warp_m[4][16], warp_l[4][16];

    const int b = blockIdx.x, group = H / K, chunks = (group + 15) / 16, split = blockIdx.z;
    const int head = blockIdx.y / chunks, first_query = blockIdx.y % chunks * 16;
    const int count = min(16, group - first_query); // query heads
    const int h = head * group + first_query, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int length = cache.length[b], all_pages = (length + page_tokens - 1) / page_tokens;
    const int first_page = split * parts.split_pages;
    const int pages = min(parts.split_pages, all_pages - first_page);
    if (pages <= 0) { // nothing in this split; without any token y is 0
        if (split == 0)
            for (int i = threadIdx.x; i < count * width; i += tile_threads)
                y[((int64_t)b * H + h) * width + i] = from_float<bf16>(0);
        return;
    }

    AsyncCopies copies;
    copy_tile<D>(copies, queries, 16, width, qkv, [&](int r) {
        return r < count ? qkv + ((int64_t)b * (H + 2 * K) + h + r) * width : nullptr;
    });
    auto copy_page = [&](KeyTiles at, int into) {
        const int index = first_page + at.t, left = length - index * page_tokens;
        const int64_t page = cache.pages[(int64_t)b * cache.max_pages + index];
        const int64_t from = (page * K + head) * page_tokens * width;
        auto place = [&](const bf16* of, int r) {
            return r < left ? of + from + r * width : nullptr; // what was never written stays out
        };
        copy_tile<D>(copies, key_tiles + into * page_tile, page_tokens, width, qkv,
                     [&](int r) { return place(keys, r); });
        copy_tile<D>(copies, value_tiles + into * page_tile, page_tokens, width, qkv,
                     [&](int r) { return place(values, r); });
        copies.commit();
    };
    copy_page({0, pages}, 0);

    const int limit[2] = {length, length};
    float sum[D / 8][4] = {}, m[2] = {-INFINITY, -INFINITY}, l[2] = {};
    double_buffered(copies, KeyTiles{0, pages}, copy_page, [&](KeyTiles at, int buffer) {
        const int mine = buffer * page_tile + warp * 16 * stride<D>;
        float p[2][4];
        multiply_rows<D>(p, queries, key_tiles + mine);
        online_softmax<D>(p, sum, m, l, scale * log2_e, true, limit,
                          (first_page + at.t) * page_tokens + warp * 16);
        add_product<D>(sum, p, value_tiles + mine);
    });

    // The tiles' memory is free: (4, 16, D) floats.
    float* sums = reinterpret_cast<float*>(key_tiles);
    UNROLL for (int r = 0; r < 2; ++r) {
        const int row = lane / 4 + 8 * r;
        const float all = quad_sum(l[r]);
        if (lane % 4 == 0) warp_m[warp][row] = m[r], warp_l[warp][row] = all;
        each_pair<D>(sum, r, width, [&](int d, float first, float second) {
            sums[(warp * 16 + row) * D + d] = first;
            sums[(warp * 16 + row) * D + d + 1] = second;
        });
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count * width; i += tile_threads)
        store_part(y, parts, merge_warps<D>(warp_m, warp_l, sums, i / width, i % width),
                   (int64_t)b * H + h + i / width, split, i % width, width);
}

// y of a row and head from its parts, in order: a warp each.
__global__ void __launch_bounds__(128)
    add_parts_kernel(bf16* __restrict__ y, Parts parts, const int* __restrict__ length,
                     int64_t rows, int H, int D) {
    const int64_t row = (int64_t)blockIdx.x * 4 + threadIdx.x / 32;
    if (row >= rows) return;
    const int tokens = parts.split_pages * page_tokens;
    const int splits = (length[row / H] + tokens - 1) / tokens;
    if (splits == 0) return; // y is 0 already
    const float* stats = parts.stats + row * parts.splits * 2;
    const float* part = parts.y + row * parts.splits * D;
    float m = stats[0], l = 0;
    for (int i = 1; i < splits; ++i) m = fmaxf(m, stats[2 * i]);
    for (int i = 0; i < splits; ++i) l += exp2_approximate(stats[2 * i] - m) * stats[2 * i + 1];
    for (int d = threadIdx.x % 32; d < D; d += 32) {
        float value = 0;
        UNROLL_BY(4) for (int i = 0; i < splits; ++i) {
            const float weight = exp2_approximate(stats[2 * i] - m) * stats[2 * i + 1];
            value += weight * part[i * D + d];
        }
        y[row * D + d] = from_float<bf16>(value / l);
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

// Checks the cache and returns its number of heads.
template <class T> static void check_cache(const char* op, const KvCache& cache, int64_t K) {
    CHECK(cache.page == page_tokens, "%s: a page holds %d tokens, this backend wants %d", op,
          cache.page, page_tokens);
    const int64_t pages = cache.k.shape[0], D = cache.k.shape[3];
    arg<T>(op, "cache.k", cache.k, {pages, K, page_tokens, D});
    arg<T>(op, "cache.v", cache.v, {pages, K, page_tokens, D});
}

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

// How the longest possible sequence is split. More than 256 keys per split only
// where the parts would not fit into the scratch that is there from the start.
static Parts plan_parts(int64_t rows, int max_pages, int D) {
    Parts parts = {};
    parts.split_pages = pages_per_split;
    size_t bytes = 0;
    for (;; parts.split_pages *= 2) {
        parts.splits = (int)ceil_div(max_pages, parts.split_pages);
        bytes = rows * parts.splits * (D + 2) * sizeof(float);
        if (parts.splits == 1 || bytes <= first_scratch_bytes) break;
    }
    if (parts.splits == 1) return parts;
    parts.y = static_cast<float*>(scratch(bytes));
    parts.stats = parts.y + rows * parts.splits * D;
    return parts;
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
                const Parts parts = plan_parts(B * H, (int)max_pages, D);
                const unsigned chunks = (unsigned)ceil_div(H / K, 16);
                const size_t shared =
                    (tile_size<width, 16> + 4 * tile_size<width, page_tokens>)*sizeof(bf16);
                launch(op, decode_tiles_kernel<width>,
                       dim3((unsigned)B, K * chunks, (unsigned)parts.splits), tile_threads, shared,
                       y, parts, qkv, keys, values, view, H, K, D, (float)scale);
                if (parts.splits > 1)
                    launch(op, add_parts_kernel, (unsigned)ceil_div(B * H, 4), 128, 0, y, parts,
                           view.length, B * H, H, D);
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
