#pragma once
// Products of small matrices that lie in the caches, the inner loops of attention:
//   c (rows, width)  =  or  +=  a b,     a: (rows, count), or (count, rows) if transposed,
//                                        b: (count, width), or (width / lanes, count, lanes) if in strips
// The sum over k = 0 .. count-1 is taken in that order with one fma per step, so an element has the
// same bits however rows and columns are grouped around it. width is a multiple of lanes<T>.
// With `ends`, row r takes the terms below ends[r] only; they never fall, and the last is count.

#include "ops/simd.h"

#include <algorithm>
#include <iterator>

namespace cpu {

// Registers: tile_rows x tile_vectors sums, tile_vectors of b, one of a; 32 with AVX-512, else 16. Few
// rows take more vectors: with fewer than 8 sums the fma units wait for each other.
constexpr int tile_rows = 6;
template <class T, int R>
constexpr int tile_vectors = R == 1                                          ? 8
                             : R == 2 || (vec_bytes == 64 && sizeof(T) == 4) ? 4
                                                                             : 2;

// Register v of b's row k.
template <class T, bool strips> inline const T* part(const T* b, int ldb, int count, int k, int v) {
    return strips ? b + ((int64_t)v * count + k) * lanes<T> : b + (int64_t)k * ldb + v * lanes<T>;
}

template <class T, bool transposed, bool accumulate, bool strips, int R, int V>
inline void tile(T* c, int ldc, const T* a, int lda, const T* b, int ldb, int count,
                 const int* ends) {
    Vec<T> sum[R][V];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v)
            sum[r][v] = accumulate ? load(c + r * ldc + v * lanes<T>) : Vec<T>{};
    auto add = [&](int k, int r, const Vec<T>* row) {
        Vec<T> x = broadcast(transposed ? a[(int64_t)k * lda + r] : a[(int64_t)r * lda + k]);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sum[r][v] = fma(x, row[v], sum[r][v]);
    };
    const int all = ends ? ends[0] : count; // terms of every row
    for (int k = 0; k < all; ++k) {
        Vec<T> row[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) row[v] = load(part<T, strips>(b, ldb, count, k, v));
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) add(k, r, row);
    }
    for (int k = all; k < count; ++k) {
        Vec<T> row[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) row[v] = load(part<T, strips>(b, ldb, count, k, v));
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
            if (k < ends[r]) add(k, r, row);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) store(c + r * ldc + v * lanes<T>, sum[r][v]);
}

// Columns from x on, V vectors at a time, then the rest at once.
template <class T, bool transposed, bool accumulate, bool strips, int R, int V>
inline void tiles(int x, T* c, int ldc, const T* a, int lda, const T* b, int ldb, int width,
                  int count, const int* ends) {
    for (; x + V * lanes<T> <= width; x += V * lanes<T>)
        tile<T, transposed, accumulate, strips, R, V>(
            c + x, ldc, a, lda, b + (strips ? (int64_t)x * count : x), ldb, count, ends);
    if constexpr (V > 1)
        tiles<T, transposed, accumulate, strips, R, V - 1>(x, c, ldc, a, lda, b, ldb, width, count,
                                                           ends);
}

template <class T, bool transposed, bool accumulate, bool strips, int R>
[[gnu::noinline]] void tile_row(T* c, int ldc, const T* a, int lda, const T* b, int ldb, int width,
                                int count, const int* ends) {
    tiles<T, transposed, accumulate, strips, R, tile_vectors<T, R>>(0, c, ldc, a, lda, b, ldb,
                                                                    width, count, ends);
}

// With `ends` at most tile_rows rows.
template <class T, bool transposed, bool accumulate, bool strips = false>
inline void multiply(T* c, int ldc, const T* a, int lda, const T* b, int ldb, int rows, int width,
                     int count, const int* ends = nullptr) {
    constexpr decltype(&tile_row<T, transposed, accumulate, strips, 1>) by_rows[] = {
        tile_row<T, transposed, accumulate, strips, 1>,
        tile_row<T, transposed, accumulate, strips, 2>,
        tile_row<T, transposed, accumulate, strips, 3>,
        tile_row<T, transposed, accumulate, strips, 4>,
        tile_row<T, transposed, accumulate, strips, 5>,
        tile_row<T, transposed, accumulate, strips, 6>};
    static_assert(std::size(by_rows) == tile_rows);
    for (int r = 0; r < rows; r += tile_rows)
        by_rows[std::min(rows - r, tile_rows) - 1](c + (int64_t)r * ldc, ldc,
                                                   a + (transposed ? r : (int64_t)r * lda), lda, b,
                                                   ldb, width, count, ends);
}

} // namespace cpu
