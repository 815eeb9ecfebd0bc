// Rotary position embedding of query and key heads, in place; and in decoding, where keys go on to the
// cache together with the values.

#include "cache.cuh"

namespace gpu {

// A thread turns W neighbouring pairs (i, i + D/2).   direction 1: by the angle; -1: back
template <class T, int W>
__global__ void __launch_bounds__(256)
    rope_kernel(T* __restrict__ qkv, const int* __restrict__ position,
                const float* __restrict__ table, int64_t threads, int H, int K, int D,
                float direction) {
    const int64_t thread = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (thread >= threads) return;
    const int half = D / 2, per_head = half / W, i = (int)(thread % per_head) * W;
    const int64_t head = thread / per_head, n = head / (H + K);
    T* low = qkv + (n * (H + 2 * K) + head % (H + K)) * D + i;
    const float* angle = table + (int64_t)position[n] * D + i;
    Floats<W> a = load<W>(low), b = load<W>(low + half);
    const Floats<W> c = load<W>(angle), s = load<W>(angle + half);
    UNROLL for (int k = 0; k < W; ++k) {
        const float x = a.v[k], y = b.v[k], sine = direction * s.v[k];
        a.v[k] = x * c.v[k] - y * sine;
        b.v[k] = y * c.v[k] + x * sine;
    }
    store(low, a);
    store(low + half, b);
}

// A thread turns W neighbouring pairs of a query, in place, or of a key on its way to the cache; or moves
// as many of a value.
template <class T, int W>
__global__ void __launch_bounds__(256)
    rope_write_kernel(T* qkv, T* keys, T* values, const int* position, const float* table,
                      const int* slots, int64_t threads, int H, int K, int D) {
    const int64_t thread = (int64_t)blockIdx.x * 256 + threadIdx.x;
    let_next_launch_begin();
    if (thread >= threads) return;
    const int half = D / 2, per_head = half / W, i = (int)(thread % per_head) * W;
    const int64_t row_head = thread / per_head, n = row_head / (H + 2 * K);
    const int head = (int)(row_head % (H + 2 * K)), slot = slots[n];
    Floats<W> c = {}, s = {};
    if (head < H + K) {
        const float* angle = table + (int64_t)position[n] * D + i;
        c = load<W>(angle), s = load<W>(angle + half);
    }
    wait_for_earlier_launches();
    T* low = qkv + row_head * D + i;
    Floats<W> a = load<W>(low), b = load<W>(low + half);
    if (head < H + K) UNROLL for (int k = 0; k < W; ++k) {
            const float x = a.v[k], y = b.v[k];
            a.v[k] = x * c.v[k] - y * s.v[k];
            b.v[k] = y * c.v[k] + x * s.v[k];
        }
    if (head >= H) {
        if (slot < 0) return;
        low = head < H + K ? keys + cache_row(slot, head - H, K, D) + i
                           : values + cache_row(slot, head - H - K, K, D) + i;
    }
    store(low, a);
    store(low + half, b);
}

template <class T>
static void rotate(const char* op, Tensor qkv_, Tensor position_, Tensor table_, int H, int K,
                   float direction) {
    const int64_t N = qkv_.shape[0], D = table_.shape[1];
    T* qkv = arg<T>(op, "qkv", qkv_, {N, (H + 2 * K) * D});
    const int* position = arg<int>(op, "position", position_, {N});
    const float* table = arg<float>(op, "table", table_, {table_.shape[0], D});
    CHECK(D % 2 == 0, "%s: a head's width must be even, not %lld", op, (long long)D);
    with_width(D / 2 % full_width == 0 && is_aligned(qkv, table), [&](auto W) {
        const int64_t threads = N * (H + K) * (D / 2 / W);
        launch(op, rope_kernel<T, W>, (unsigned)ceil_div(threads, 256), 256, 0, qkv, position,
               table, threads, H, K, (int)D, direction);
    });
}

template <class T>
static void rope_forward(Tensor qkv, Tensor position, Tensor table, int H, int K) {
    rotate<T>("rope_forward", qkv, position, table, H, K, 1);
}

template <class T>
static void rope_backward(Tensor dqkv, Tensor position, Tensor table, int H, int K) {
    rotate<T>("rope_backward", dqkv, position, table, H, K, -1);
}

template <class T>
static void rope_write(KvCache& cache, Tensor qkv_, Tensor position_, Tensor table_, Tensor slot_,
                       int H, int K) {
    const char* op = "rope_write";
    const int64_t N = qkv_.shape[0], D = cache.k.shape[3];
    check_cache<T>(op, cache, K);
    T* qkv = arg<T>(op, "qkv", qkv_, {N, (H + 2 * K) * D});
    const int* position = arg<int>(op, "position", position_, {N});
    const float* table = arg<float>(op, "table", table_, {table_.shape[0], D});
    const int* slot = arg<int>(op, "slot", slot_, {N});
    CHECK(D % 2 == 0, "%s: a head's width must be even, not %lld", op, (long long)D);
    T *keys = static_cast<T*>(cache.k.data), *values = static_cast<T*>(cache.v.data);
    with_width(D / 2 % full_width == 0 && is_aligned(qkv, table, keys, values), [&](auto W) {
        const int64_t threads = N * (H + 2 * K) * (D / 2 / W);
        launch_overlapped(op, rope_write_kernel<T, W>, (unsigned)ceil_div(threads, 256), 256, 0,
                          qkv, keys, values, position, table, slot, threads, H, K, (int)D);
    });
}

template <class T> void install_rope(Ops& ops) {
    ops.rope_write = rope_write<T>;
    ops.rope_forward = rope_forward<T>;
    ops.rope_backward = rope_backward<T>;
}
template void install_rope<float>(Ops&);
template void install_rope<bf16>(Ops&);

} // namespace gpu
