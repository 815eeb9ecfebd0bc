#pragma once
// Sums over a row in one fixed order, and exp: lanes of a vector register, partial vectors padded, so
// that an element's result does not depend on its place or its neighbours.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace cpu {

#ifdef __AVX512F__
constexpr int vector_bytes = 64;
#else
constexpr int vector_bytes = 32;
#endif

template <class T> struct VectorOf { typedef T type __attribute__((vector_size(vector_bytes))); };
template <class T> using Vec = typename VectorOf<T>::type;
template <class T> constexpr int lanes = vector_bytes / sizeof(T);

#define INLINE [[gnu::always_inline]] static inline

template <class T> INLINE Vec<T> load(const T* p) {
    Vec<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class T> INLINE void store(T* p, Vec<T> v) { std::memcpy(p, &v, sizeof v); }

// The first n elements; the rest is `rest`.
template <class T> INLINE Vec<T> load(const T* p, int n, T rest) {
    Vec<T> v = rest - Vec<T>{};
    std::memcpy(&v, p, n * sizeof(T));
    return v;
}
template <class T> INLINE void store(T* p, int n, Vec<T> v) { std::memcpy(p, &v, n * sizeof(T)); }

template <class T> INLINE T sum(Vec<T> v) {
    T part[lanes<T>];
    std::memcpy(part, &v, sizeof part);
    for (int half = lanes<T> / 2; half; half /= 2)
        for (int i = 0; i < half; ++i) part[i] += part[i + half];
    return part[0];
}

// Calls f(i, n) for every whole vector (n = lanes) and for the rest of n < lanes elements.
template <class T, class F> INLINE void for_vectors(int64_t size, const F& f) {
    int64_t i = 0;
    for (; i + lanes<T> <= size; i += lanes<T>) f(i, lanes<T>);
    if (i < size) f(i, (int)(size - i));
}

template <class T> INLINE Vec<T> load(const T* p, int n) {
    return n == lanes<T> ? load(p) : load(p, n, T(0));
}
template <class T> INLINE void store_n(T* p, int n, Vec<T> v) {
    if (n == lanes<T>)
        store(p, v);
    else
        store(p, n, v);
}

// sum_c a_c b_c
template <class T> INLINE T dot(const T* a, const T* b, int64_t C) {
    Vec<T> s0 = {}, s1 = {}, s2 = {}, s3 = {};
    const int L = lanes<T>;
    int64_t c = 0;
    for (; c + 4 * L <= C; c += 4 * L) {
        s0 += load(a + c) * load(b + c);
        s1 += load(a + c + L) * load(b + c + L);
        s2 += load(a + c + 2 * L) * load(b + c + 2 * L);
        s3 += load(a + c + 3 * L) * load(b + c + 3 * L);
    }
    for (; c < C; c += L) {
        int n = C - c < L ? (int)(C - c) : L;
        s0 += load(a + c, n) * load(b + c, n);
    }
    return sum<T>((s0 + s1) + (s2 + s3));
}

// e^x, relative error below 2e-7 in f32. Below -86.6 it is 0, above 88.7 infinite; NaN stays NaN.
INLINE Vec<float> exp(Vec<float> x) {
    typedef Vec<int32_t> Bits;
    Vec<float> at = x > 89.0f ? 89.0f - Vec<float>{} : x;
    at = at < -88.0f ? -88.0f - Vec<float>{} : at;
    // x = k log 2 + r, |r| <= log(2) / 2; adding 1.5 * 2^23 rounds to an integer
    const float magic = 12582912.0f;
    Vec<float> shifted = at * 1.44269504088896341f + magic;
    Vec<float> k = shifted - magic;
    Vec<float> r = at - k * 0.693359375f;
    r = r + k * 2.12194440e-4f;
    Vec<float> p = r * (1.0f / 5040) + 1.0f / 720; // Taylor: r^8 / 8! is below 2^-27
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    // times 2^k in two steps, since 2^128 is not a float
    Bits exponent = ((Bits)shifted - (0x4B400000 + 1 - 127)) << 23;
    Vec<float> y = p * (Vec<float>)exponent * 2.0f;
    return x < -86.6f ? Vec<float>{} : y;
}
INLINE Vec<double> exp(Vec<double> x) {
    for (int i = 0; i < lanes<double>; ++i) x[i] = std::exp(x[i]);
    return x;
}

} // namespace cpu
