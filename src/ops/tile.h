#pragma once
// Products of small matrices that lie in the caches, the inner loops of attention:
//   c (rows, width)  =  or  +=  a b,     a: (rows, count), or (count, rows) if transposed,  b: (count, width)
// The sum over k = 0 .. count-1 is taken in that order with one fma per step, so an element has the
// same bits however rows and columns are grouped around it. width is a multiple of lanes<T>.

#include "ops/simd.h"

#include <algorithm>
#include <iterator>

namespace cpu {

// Registers: rows x vectors sums, as many of b as vectors, one of a; 32 with AVX-512, else 16. Few rows take more
// vectors: an fma waits four cycles for the one before it, so eight sums keep both units busy.
constexpr int tile_rows = 6;
template <int rows> constexpr int tile_vectors = rows == 1 ? 8 : rows <= 3 || vec_bytes == 64 ? 4 : 2;

template <class T, bool transposed, bool accumulate, int R, int V>
inline void tile(T* c, int ldc, const T* a, int lda, const T* b, int ldb, int count) {
    Vec<T> sum[R][V];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v)
            sum[r][v] = accumulate ? load(c + r * ldc + v * lanes<T>) : Vec<T>{};
    int k = 0;
    do { // count is not 0: a loop that might not run costs registers
        Vec<T> row[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) row[v] = load(b + (int64_t)k * ldb + v * lanes<T>);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            Vec<T> x = broadcast(transposed ? a[(int64_t)k * lda + r] : a[(int64_t)r * lda + k]);
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) sum[r][v] = fma(x, row[v], sum[r][v]);
        }
    } while (++k < count);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) store(c + r * ldc + v * lanes<T>, sum[r][v]);
}

// Tiles of V vectors, then of half as many over what is left.
template <class T, bool transposed, bool accumulate, int R, int V>
inline void tiles(T* c, int ldc, const T* a, int lda, const T* b, int ldb, int width, int count) {
    int x = 0;
    for (; x + V * lanes<T> <= width; x += V * lanes<T>)
        tile<T, transposed, accumulate, R, V>(c + x, ldc, a, lda, b + x, ldb, count);
    if constexpr (V > 1)
        if (x < width)
            tiles<T, transposed, accumulate, R, V / 2>(c + x, ldc, a, lda, b + x, ldb, width - x,
                                                       count);
}

template <class T, bool transposed, bool accumulate, int R>
[[gnu::noinline]] void tile_row(T* c, int ldc, const T* a, int lda, const T* b, int ldb, int width,
                                int count) {
    tiles<T, transposed, accumulate, R, tile_vectors<R>>(c, ldc, a, lda, b, ldb, width, count);
}

template <class T, bool transposed, bool accumulate>
inline void multiply(T* c, int ldc, const T* a, int lda, const T* b, int ldb, int rows, int width,
                     int count) {
    constexpr decltype(&tile_row<T, transposed, accumulate, 1>) by_rows[] = {
        tile_row<T, transposed, accumulate, 1>, tile_row<T, transposed, accumulate, 2>,
        tile_row<T, transposed, accumulate, 3>, tile_row<T, transposed, accumulate, 4>,
        tile_row<T, transposed, accumulate, 5>, tile_row<T, transposed, accumulate, 6>};
    static_assert(std::size(by_rows) == tile_rows);
    if (count == 0) return;
    for (int r = 0; r < rows; r += tile_rows)
        by_rows[std::min(rows - r, tile_rows) - 1](c + (int64_t)r * ldc, ldc,
                                                   a + (transposed ? r : (int64_t)r * lda), lda, b,
                                                   ldb, width, count);
}

} // namespace cpu
