// Rotary position embedding of query and key heads, in place.

#include "ops/install.h"
#include "ops/simd.h"

namespace cpu {

// direction 1: by the angle; -1: back
template <class T>
static void rotate(const char* op, Tensor qkv, Tensor position, Tensor table, int H, int K,
                   T direction) {
    int64_t N = qkv.shape[0], width = qkv.shape[1], D = table.shape[1], half = D / 2;
    T* x = arg<T>(op, "qkv", qkv, {N, (H + 2 * K) * D});
    const int32_t* at = arg<int32_t>(op, "position", position, {N});
    const T* angles = arg<T>(op, "table", table, {table.shape[0], D});
    CHECK(D % 2 == 0, "%s: a head's width must be even, not %lld", op, (long long)D);
    each_row(N, N * width > 1 << 14, [&](int64_t n) {
        const T *cosine = angles + at[n] * D, *sine = cosine + half;
        for (int h = 0; h < H + K; ++h) {
            T *low = x + n * width + h * D, *high = low + half;
#pragma omp simd
            for (int64_t i = 0; i < half; ++i) {
                T a = low[i], b = high[i], c = cosine[i], s = direction * sine[i];
                low[i] = fma(a, c, -(b * s));
                high[i] = fma(b, c, a * s);
            }
        }
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

template <class T> void install_rope(Ops& ops) {
    ops.rope_forward = rope_forward<T>;
    ops.rope_backward = rope_backward<T>;
}
template void install_rope<float>(Ops&);
template void install_rope<double>(Ops&);

} // namespace cpu
