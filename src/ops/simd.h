#pragma once
// A thin vector layer: Vec<T> is one hardware register of T (64 bytes with AVX-512, else 32), with
// the operators + - * / and comparisons of GCC's vector extension, `mask ? a : b` included. Every
// function does the same arithmetic in every lane, so a value never depends on its neighbours.
//
// Where bits matter write fma() for a multiply-add and keep a bare product away from a sum: GCC may
// or may not contract a * b + c, depending on its tuning and the code around it.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#if defined(__FMA__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace cpu {

#if defined(__AVX512F__)
constexpr int vec_bytes = 64;
#else
constexpr int vec_bytes = 32;
#endif

typedef float VecF32 __attribute__((vector_size(vec_bytes)));
typedef double VecF64 __attribute__((vector_size(vec_bytes)));
typedef int32_t VecI32 __attribute__((vector_size(vec_bytes)));
typedef uint32_t VecU32 __attribute__((vector_size(vec_bytes)));
typedef int64_t VecI64 __attribute__((vector_size(vec_bytes)));

template <class T> struct VecOf;
template <> struct VecOf<float> {
    using type = VecF32;
    using mask = VecI32;
};
template <> struct VecOf<double> {
    using type = VecF64;
    using mask = VecI64;
};
template <class T> using Vec = typename VecOf<T>::type;
template <class T> using Mask = typename VecOf<T>::mask; // 0 or -1 per lane, as comparisons give
template <class T> constexpr int lanes = vec_bytes / (int)sizeof(T);

template <class T> inline Vec<T> load(const T* p) {
    Vec<T> x;
    std::memcpy(&x, p, sizeof x);
    return x;
}
template <class T> inline void store(T* p, Vec<T> x) { std::memcpy(p, &x, sizeof x); }
template <class T> inline Vec<T> broadcast(T x) { return x - Vec<T>{}; }

// The first n lanes (0 <= n <= lanes<T>); the others are `rest`, and their memory is not read.
template <class T> inline Vec<T> load_first(const T* p, int n, T rest = 0) {
    T a[lanes<T>];
    for (int i = 0; i < lanes<T>; ++i) a[i] = i < n ? p[i] : rest;
    return load(a);
}
template <class T> inline void store_first(T* p, Vec<T> x, int n) {
    T a[lanes<T>];
    store(a, x);
    for (int i = 0; i < n; ++i) p[i] = a[i];
}

// a * b + c, rounded once
inline float fma(float a, float b, float c) { return std::fma(a, b, c); }
inline double fma(double a, double b, double c) { return std::fma(a, b, c); }
#if defined(__AVX512F__)
inline VecF32 fma(VecF32 a, VecF32 b, VecF32 c) { return (VecF32)_mm512_fmadd_ps(a, b, c); }
inline VecF64 fma(VecF64 a, VecF64 b, VecF64 c) { return (VecF64)_mm512_fmadd_pd(a, b, c); }
#elif defined(__FMA__)
inline VecF32 fma(VecF32 a, VecF32 b, VecF32 c) { return (VecF32)_mm256_fmadd_ps(a, b, c); }
inline VecF64 fma(VecF64 a, VecF64 b, VecF64 c) { return (VecF64)_mm256_fmadd_pd(a, b, c); }
#else
inline VecF32 fma(VecF32 a, VecF32 b, VecF32 c) { return a * b + c; }
inline VecF64 fma(VecF64 a, VecF64 b, VecF64 c) { return a * b + c; }
#endif

// The larger; b where either is NaN.
inline VecF32 max(VecF32 a, VecF32 b) { return a > b ? a : b; }
inline VecF64 max(VecF64 a, VecF64 b) { return a > b ? a : b; }

// Lane i + step of the register, around the end: the step of a reduction.
template <int step, class V, size_t... i> inline V rotate(V x, std::index_sequence<i...>) {
    return __builtin_shufflevector(x, x, (int)((i + step) % sizeof...(i))...);
}
// Sum and largest of all lanes, in a fixed order (halves onto each other).
template <class T, int step = lanes<T> / 2> inline T reduce_add(Vec<T> x) {
    if constexpr (step == 0)
        return x[0];
    else
        return reduce_add<T, step / 2>(
            x + rotate<step>(x, std::make_index_sequence<(size_t)lanes<T>>{}));
}
template <class T, int step = lanes<T> / 2> inline T reduce_max(Vec<T> x) {
    if constexpr (step == 0)
        return x[0];
    else
        return reduce_max<T, step / 2>(
            max(x, rotate<step>(x, std::make_index_sequence<(size_t)lanes<T>>{})));
}

// Lanes of two registers that trade places at distance `step`: the lower (bit `step` of the lane clear) or the
// upper half of a 2 x 2 transposition.
template <int step, bool upper, class V, size_t... i>
inline V trade(V a, V b, std::index_sequence<i...>) {
    constexpr int L = sizeof...(i);
    return __builtin_shufflevector(a, b,
                                   (int)(upper ? ((int)i & step ? L + (int)i : (int)i + step)
                                               : ((int)i & step ? L + (int)i - step : (int)i))...);
}
// x[i] lane j becomes x[j] lane i.   x: lanes<T> registers
template <class T, int step = lanes<T> / 2> inline void transpose(Vec<T>* x) {
    constexpr auto every = std::make_index_sequence<(size_t)lanes<T>>{};
#pragma GCC unroll 16
    for (int i = 0; i < lanes<T>; ++i) {
        if (i & step) continue;
        const Vec<T> a = x[i], b = x[i + step];
        x[i] = trade<step, false>(a, b, every), x[i + step] = trade<step, true>(a, b, every);
    }
    if constexpr (step > 1) transpose<T, step / 2>(x);
}

// e^x within 1 ulp: x = n ln 2 + r, |r| <= ln 2 / 2, e^r by a polynomial (minimax of the relative
// error, 3e-9), 2^n by adding n to the exponent. Below -87.33, where e^x leaves the normal numbers,
// it is 0; above 88.72 infinite; exp(0) is exactly 1; NaN stays NaN.
inline VecF32 exp(VecF32 x) {
    const VecF32 magic =
        broadcast(0x1.8p23f); // adding it rounds to an integer, kept in the low bits
    VecF32 shifted = fma(x, broadcast(0x1.715476p+0f), magic);
    VecF32 n = shifted - magic;
    VecF32 r = fma(n, broadcast(-0x1.62e4p-1f), x); // ln 2 in two parts, n times the first is exact
    r = fma(n, broadcast(-0x1.7f7d1cp-20f), r);
    VecF32 p = fma(r, broadcast(0x1.6a23d0p-10f), broadcast(0x1.123a20p-7f));
    p = fma(p, r, broadcast(0x1.5558f2p-5f));
    p = fma(p, r, broadcast(0x1.555492p-3f));
    p = fma(p, r, broadcast(0x1.fffffcp-2f));
    p = fma(p, r, broadcast(1.0f));
    p = fma(p, r, broadcast(1.0f));
    VecF32 y = (VecF32)((VecU32)p + ((VecU32)shifted << 23));
    y = x < broadcast(-87.33f) ? VecF32{} : y;
    return x <= broadcast(88.72f) ? y : x + broadcast(std::numeric_limits<float>::infinity());
}
inline VecF64 exp(VecF64 x) {
    for (int i = 0; i < lanes<double>; ++i) x[i] = std::exp(x[i]);
    return x;
}

} // namespace cpu
