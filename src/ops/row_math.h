#pragma once
// Rows by vectors: the last, partial vector is padded, so that an element's result does not depend on
// where it stands, and sums have one fixed order.

#include "ops/simd.h"

namespace cpu {

// Calls f(i, n) for every whole vector (n = lanes) and for the rest of n < lanes elements.
template <class T, class F> inline void for_vectors(int64_t size, const F& f) {
    int64_t i = 0;
    for (; i + lanes<T> <= size; i += lanes<T>) f(i, lanes<T>);
    if (i < size) f(i, (int)(size - i));
}

// n elements; the lanes behind them are `rest`.
template <class T> inline Vec<T> load(const T* p, int n, T rest = 0) {
    return n == lanes<T> ? load(p) : load_first(p, n, rest);
}
template <class T> inline void store(T* p, Vec<T> x, int n) {
    if (n == lanes<T>)
        store(p, x);
    else
        store_first(p, x, n);
}

// sum_c a_c b_c
template <class T> inline T dot(const T* a, const T* b, int64_t C) {
    const int L = lanes<T>;
    Vec<T> s0 = {}, s1 = {}, s2 = {}, s3 = {};
    int64_t c = 0;
    for (; c + 4 * L <= C; c += 4 * L) {
        s0 = fma(load(a + c), load(b + c), s0);
        s1 = fma(load(a + c + L), load(b + c + L), s1);
        s2 = fma(load(a + c + 2 * L), load(b + c + 2 * L), s2);
        s3 = fma(load(a + c + 3 * L), load(b + c + 3 * L), s3);
    }
    for (; c < C; c += L) {
        int n = C - c < L ? (int)(C - c) : L;
        s0 = fma(load(a + c, n), load(b + c, n), s0);
    }
    return reduce_add<T>((s0 + s1) + (s2 + s3));
}

// sum_c a_c b_c w_c
template <class T> inline T dot(const T* a, const T* b, const T* w, int64_t C) {
    Vec<T> sums = {};
    for_vectors<T>(C, [&](int64_t c, int n) {
        sums = fma(load(a + c, n) * load(w + c, n), load(b + c, n), sums);
    });
    return reduce_add<T>(sums);
}

} // namespace cpu
