#pragma once
// Attention of a few query rows to one block of keys: the arithmetic that the forward pass over a
// batch and decoding from the cache share, so that a query row has the same bits on either way.
//
// Keys come in blocks of 64 counted from the sequence's first token, in strips of one register's
// lanes: keys (64 / lanes, D, lanes), values (64, stride). A row's scores are sums over d in order,
// its softmax is updated block by block, its output is a sum over the keys in order, and keys past
// the row's limit add nothing, NaN included.

#include "ops/tile.h"

#include <omp.h>

namespace cpu {

constexpr int key_block = 64;

inline int64_t round_up(int64_t n, int64_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}
// D rounded up to whole registers: the distance between rows in scratch.
template <class T> int padded_width(int D) { return (int)round_up(D, lanes<T>); }

// A team of threads for this many multiply-adds: waking it costs more than the work of 10
// microseconds.
inline int team_size(int64_t work) { return work < 1 << 20 ? 1 : omp_get_max_threads(); }

// One register of a row of D elements, at d; past its end 0.
template <class T> inline Vec<T> load_row(const T* row, int d, int D) {
    return d + lanes<T> <= D ? load(row + d) : load_first(row + d, D - d);
}
template <class T> inline void store_row(T* row, Vec<T> x, int d, int D) {
    if (d + lanes<T> <= D)
        store(row + d, x);
    else
        store_first(row + d, x, D - d);
}

// Takes 64-byte aligned pieces from a block of memory, or counts them if it starts at 0.
struct Carver {
    uintptr_t at = 0;
    template <class T> T* take(int64_t count) {
        uintptr_t begin = at;
        at += round_up(count * (int64_t)sizeof(T), 64);
        return (T*)begin;
    }
};

// Query rows in the order of their limits (rows of one position side by side).
template <class T> struct QueryRows {
    int count = 0, D = 0, stride = 0;
    int* limit; // (count): the row sees keys 0 .. limit-1 of its sequence, limit >= 1; never falls
    T* q;       // (count, stride), times the softmax scale
    T* y;       // (count, stride): sum over the keys so far of exp(score - m) v
    T *m, *l;   // (count): largest score so far; sum of exp(score - m)
    T* scores;  // (tile_rows, 64)

    void layout(Carver& memory, int rows, int D_) {
        D = D_, stride = padded_width<T>(D);
        limit = memory.take<int>(rows);
        q = memory.take<T>((int64_t)rows * stride);
        y = memory.take<T>((int64_t)rows * stride);
        m = memory.take<T>(rows);
        l = memory.take<T>(rows);
        scores = memory.take<T>(tile_rows * key_block);
    }
    void start() { count = 0; }
    // Adds the query x (D).
    void add(const T* x, T scale, int row_limit) {
        for (int d = 0; d < stride; d += lanes<T>) {
            store(q + count * stride + d, load_row(x, d, D) * broadcast(scale));
            store(y + count * stride + d, Vec<T>{});
        }
        limit[count] = row_limit;
        m[count] = -std::numeric_limits<T>::infinity();
        l[count] = 0;
        ++count;
    }
    // After all blocks: out (D) = softmax-weighted values of a row.
    void finish(int row, T* out) const {
        const Vec<T> inverse = broadcast(1 / l[row]);
        for (int d = 0; d < stride; d += lanes<T>)
            store_row(out, load(y + row * stride + d) * inverse, d, D);
    }
    T lse(int row) const { return m[row] + std::log(l[row]); }
};

// The block that starts at key `first`, for all rows [Dao 2023, algorithm 1].
template <class T>
void attend_block(const QueryRows<T>& rows, int first, const T* keys, const T* values);

// Keys of the block that a row with this limit sees.
inline int seen(int limit, int first) { return std::clamp(limit - first, 0, key_block); }

// Lanes of register v of a block's row that lie before key n.
template <class T> inline Mask<T> before(int v, int n) {
    Vec<T> lane;
    for (int i = 0; i < lanes<T>; ++i) lane[i] = (T)i;
    return lane < broadcast((T)(n - v * lanes<T>));
}

} // namespace cpu
