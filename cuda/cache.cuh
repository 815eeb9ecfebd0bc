#pragma once
// The key/value cache as kernels see it. A page holds the keys (then, in v, the values) of 64 tokens,
// per head (64, D): rows in whole 16-byte pieces.

#include "device.cuh"

namespace gpu {

constexpr int page_tokens = 64;

// Where keys or values of one token and head begin, in elements. slot = page * 64 + place
__device__ __forceinline__ int64_t cache_row(int slot, int head, int K, int D) {
    return ((int64_t)(slot / page_tokens * K + head) * page_tokens + slot % page_tokens) * D;
}

// Checks the cache.
template <class T> void check_cache(const char* op, const KvCache& cache, int64_t K) {
    CHECK(cache.page == page_tokens, "%s: a page holds %d tokens, this backend wants %d", op,
          cache.page, page_tokens);
    const int64_t pages = cache.k.shape[0], D = cache.k.shape[3];
    arg<T>(op, "cache.k", cache.k, {pages, K, page_tokens, D});
    arg<T>(op, "cache.v", cache.v, {pages, K, page_tokens, D});
}

} // namespace gpu
