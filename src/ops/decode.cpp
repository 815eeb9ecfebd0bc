// Attention of one new token per sequence over the key/value cache, and writing to the cache. A page is
// a key block of attention_rows.h: of every head the keys in strips, then in v the values (64, D). So
// decoding runs the arithmetic of the forward pass, block by block from the sequence's first token.

#include "ops/attention_rows.h"
#include "ops/install.h"

namespace cpu {
namespace {

// Checks the cache and returns the number of its pages.
template <class T> int64_t check_cache(const char* op, const KvCache& cache, int K) {
    CHECK(cache.page == key_block, "%s: a page holds %d tokens, this backend wants %d", op,
          cache.page, key_block);
    const int64_t pages = cache.k.shape[0], D = cache.k.shape[3];
    arg<T>(op, "cache.k", cache.k, {pages, K, key_block, D});
    arg<T>(op, "cache.v", cache.v, {pages, K, key_block, D});
    return pages;
}

template <class T> void kv_write(KvCache& cache, Tensor qkv_, Tensor slot_, int H, int K) {
    const char* op = "kv_write";
    const int64_t N = qkv_.shape[0], D = cache.k.shape[3], width = (H + 2 * K) * D;
    const int64_t places = check_cache<T>(op, cache, K) * key_block;
    const T* qkv = arg<T>(op, "qkv", qkv_, {N, width});
    const int* slot = arg<int>(op, "slot", slot_, {N});
    for (int64_t n = 0; n < N; ++n)
        CHECK(slot[n] >= -1 && slot[n] < places, "%s: slot %d of row %lld, the cache has %lld", op,
              slot[n], (long long)n, (long long)places);
    T *keys = cache.k.as<T>(), *values = cache.v.as<T>();
    each_row(N, N * width * 8 >= 1 << 20, [&](int64_t n) {
        if (slot[n] < 0) return;
        const int64_t page = slot[n] / key_block, place = slot[n] % key_block;
        for (int head = 0; head < K; ++head) {
            const int64_t at = (page * K + head) * key_block * D;
            const T* k = qkv + n * width + (H + head) * D;
            T* strip = keys + at + place / lanes<T> * lanes<T> * D + place % lanes<T>;
            for (int64_t d = 0; d < D; ++d) strip[d * lanes<T>] = k[d];
            std::copy_n(k + K * D, D, values + at + place * D);
        }
    });
}

template <class T> void kv_copy(KvCache& cache, Tensor to_, Tensor from_, int count) {
    const char* op = "kv_copy";
    const int64_t pages = check_cache<T>(op, cache, (int)cache.k.shape[1]);
    const int64_t size = cache.k.shape[1] * key_block * cache.k.shape[3];
    CHECK(to_.shape[0] >= count && from_.shape[0] >= count,
          "%s: %d pages, but the lists are %s and %s", op, count, shape_text(to_).c_str(),
          shape_text(from_).c_str());
    const int *to = arg<int>(op, "to", to_, {to_.shape[0]}),
              *from = arg<int>(op, "from", from_, {from_.shape[0]});
    for (int i = 0; i < count; ++i)
        CHECK(to[i] >= 0 && to[i] < pages && from[i] >= 0 && from[i] < pages,
              "%s: page %d to page %d, the cache has %lld", op, from[i], to[i], (long long)pages);
    T *keys = cache.k.as<T>(), *values = cache.v.as<T>();
    each_row(count, count * size * 8 >= 1 << 20, [&](int64_t i) {
        if (to[i] == from[i]) return;
        for (T* x : {keys, values}) std::copy_n(x + from[i] * size, size, x + to[i] * size);
    });
}

// Asks for the keys and values of the first n tokens of a page's head, `at` elements into both arrays:
// they come from memory, and the time until then is longer than the work on the head before.
template <class T> void prefetch_head(const T* keys, const T* values, int64_t at, int n, int D) {
    constexpr int line = 64 / sizeof(T);
    for (int64_t i = 0; i < round_up(n, lanes<T>) * D; i += line) {
        __builtin_prefetch(keys + at + i, 0, 2);
        __builtin_prefetch(values + at + i, 0, 2);
    }
}

template <class T> struct DecodeBatch {
    T *y, *lse;                   // lse: may be null
    const T *qkv, *keys, *values; // keys, values: the cache
    const int *pages, *length;    // (B, max_pages), (B)
    int64_t B, max_pages;
    int H, K, D, group, width; // width: of a row of qkv

    // Elements of the cache before a page's head.
    int64_t place(int64_t b, int64_t block, int64_t head) const {
        return ((int64_t)pages[b * max_pages + block] * K + head) * key_block * D;
    }
};

// Checks lengths and pages; returns the sum of the lengths.
template <class T>
int64_t check_lengths(const char* op, const DecodeBatch<T>& x, int64_t all_pages) {
    int64_t sum = 0;
    for (int64_t b = 0; b < x.B; ++b) {
        const int length = x.length[b];
        const int* pages = x.pages + b * x.max_pages;
        sum += length;
        CHECK(length > 0 && length <= x.max_pages * key_block,
              "%s: sequence %lld has length %d, with room for %lld", op, (long long)b, length,
              (long long)x.max_pages * key_block);
        for (int i = 0; i * key_block < length; ++i)
            CHECK(pages[i] >= 0 && pages[i] < all_pages,
                  "%s: page %d of sequence %lld, the cache has %lld", op, pages[i], (long long)b,
                  (long long)all_pages);
    }
    return sum;
}

// What a thread works with. Values are padded to whole registers where D is not.
template <class T> struct DecodeWork {
    QueryRows<T> rows;
    T* padded;

    void layout(Carver& memory, int group, int D) {
        const int stride = padded_width<T>(D);
        rows.layout(memory, group, D);
        padded = memory.take<T>(stride == D ? 0 : key_block * stride);
    }
};

// The query heads of one key/value head of one sequence, over its pages in order.
template <class T>
void decode_head(const DecodeBatch<T>& x, int64_t b, int64_t head, T scale, DecodeWork<T>& work) {
    const int D = x.D, stride = padded_width<T>(D), length = x.length[b];
    QueryRows<T>& rows = work.rows;
    rows.start();
    for (int g = 0; g < x.group; ++g)
        rows.add(x.qkv + b * x.width + (head * x.group + g) * D, scale, length);
    for (int block = 0; block * key_block < length; ++block) {
        const int64_t at = x.place(b, block, head);
        const T* v = x.values + at;
        if (stride != D) {
            for (int j = 0; j < seen(length, block * key_block); ++j)
                std::copy_n(v + j * D, D, work.padded + j * stride);
            v = work.padded;
        }
        attend_block<T>(rows, block * key_block, x.keys + at, v);
    }
    for (int g = 0; g < x.group; ++g) {
        const int64_t h = b * x.H + head * x.group + g;
        rows.finish(g, x.y + h * D);
        if (x.lse) x.lse[h] = rows.lse(g);
    }
}

template <class T>
void decode_attention(Tensor y, Tensor lse, Tensor qkv, const KvCache& cache, Tensor pages,
                      Tensor length, int H, int K, double scale) {
    const char* op = "decode_attention";
    CHECK(K > 0 && H > 0 && H % K == 0, "%s: %d query heads are no multiple of %d key heads", op, H,
          K);
    const int64_t B = qkv.shape[0], max_pages = pages.shape[1];
    const int D = (int)cache.k.shape[3], group = H / K, width = (H + 2 * K) * D;
    const int64_t all_pages = check_cache<T>(op, cache, K);
    const DecodeBatch<T> x = {arg<T>(op, "y", y, {B, (int64_t)H * D}),
                              optional_arg<T>(op, "lse", lse, {B, H}),
                              arg<T>(op, "qkv", qkv, {B, width}),
                              cache.k.as<T>(),
                              cache.v.as<T>(),
                              arg<int>(op, "pages", pages, {B, max_pages}),
                              arg<int>(op, "length", length, {B}),
                              B,
                              max_pages,
                              H,
                              K,
                              D,
                              group,
                              width};
    const int64_t keys_seen = check_lengths(op, x, all_pages);
    const int threads = team_size(keys_seen * H * D * 8);
    Carver count;
    DecodeWork<T>().layout(count, group, D);
    const uintptr_t memory = (uintptr_t)scratch(Slot::attention, count.at * threads);
    // A thread takes heads side by side with its share of all keys, step by step mostly the same ones:
    // their pages stay in its cache. The first of thread t:
    auto share = [&](int t) {
        int64_t before = 0, b = 0;
        const int64_t wanted = keys_seen * K * t / threads;
        while (b < B && before + (int64_t)x.length[b] * K <= wanted)
            before += (int64_t)x.length[b++] * K;
        return b < B ? b * K + (wanted - before) / x.length[b] : B * K;
    };
    // In the order of memory: the heads of a page lie side by side. Sequences side by side often share
    // a prompt's pages, which stay in the cache from one to the next.
    each_row(threads, threads > 1, [&](int64_t t) {
        Carver own{memory + count.at * t};
        DecodeWork<T> work;
        work.layout(own, group, D);
        for (int64_t i = share(t), last = share(t + 1); i < last; ++i) {
            if (const int64_t next = i + 1; next < last)
                prefetch_head(x.keys, x.values, x.place(next / K, 0, next % K),
                              seen(x.length[next / K], 0), D);
            decode_head(x, i / K, i % K, (T)scale, work);
        }
    });
}

} // namespace

template <class T> void install_decode(Ops& ops) {
    ops.kv_write = kv_write<T>;
    ops.kv_copy = kv_copy<T>;
    ops.decode_attention = decode_attention<T>;
}
template void install_decode<float>(Ops&);
template void install_decode<double>(Ops&);

} // namespace cpu
