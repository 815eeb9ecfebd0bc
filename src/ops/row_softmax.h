#pragma once
// The softmax of one row of logits, as token_logprob and sample both measure it: the same function, so
// the same bits.

#include "ops/row_math.h"

namespace cpu {

constexpr int64_t softmax_block = 4096; // sums inside a block in T, across blocks in double

// t_v = z_v inverse_temperature, largest = max t, sum = sum_v exp(t_v - largest)
template <class T> struct RowSoftmax {
    T largest;
    double sum;
    double weighted; // sum_v exp(t_v - largest) (t_v - largest), if asked for

    double log_sum() const { return (double)largest + std::log(sum); }
    // log p of one t
    T logp(T t) const { return (T)((double)t - largest - std::log(sum)); }
    // log sum - sum_v p_v t_v
    T entropy() const { return (T)(std::log(sum) - weighted / sum); }
};

// exp(t - largest) of n elements; those behind the row's end are 0.
template <class T>
inline Vec<T> softmax_terms(const T* z, int n, T inverse_temperature, T largest) {
    Vec<T> x = load<T>(z, n, -INFINITY);
    return exp(fma(x, broadcast(inverse_temperature), broadcast(-largest)));
}

template <class T> inline T row_max(const T* z, int64_t V) {
    Vec<T> most = broadcast<T>(-INFINITY);
    for_vectors<T>(V, [&](int64_t v, int n) { most = max(load<T>(z + v, n, -INFINITY), most); });
    return reduce_max<T>(most);
}

// The terms' sum over one block; with `weighted`, sum_v exp(t_v - largest) (t_v - largest) is added
// to it.
template <class T>
inline T block_sum(const T* z, int64_t count, T inverse_temperature, T largest,
                   double* weighted = nullptr) {
    Vec<T> sums = {}, weighted_sums = {};
    if (!weighted) {
        for_vectors<T>(count, [&](int64_t v, int n) {
            sums += softmax_terms(z + v, n, inverse_temperature, largest);
        });
    } else {
        for_vectors<T>(count, [&](int64_t v, int n) {
            Vec<T> e = softmax_terms(z + v, n, inverse_temperature, largest);
            Vec<T> t = fma(load(z + v, n), broadcast(inverse_temperature), broadcast(-largest));
            sums += e;
            weighted_sums += e == T(0) ? e : e * t; // exp(-inf) (-inf) is 0 here
        });
        *weighted += reduce_add<T>(weighted_sums);
    }
    return reduce_add<T>(sums);
}

template <class T>
RowSoftmax<T> row_softmax(const T* z, int64_t V, T inverse_temperature, bool entropy = false) {
    RowSoftmax<T> row = {row_max(z, V) * inverse_temperature, 0, 0};
    for (int64_t v = 0; v < V; v += softmax_block)
        row.sum += block_sum(z + v, std::min(softmax_block, V - v), inverse_temperature,
                             row.largest, entropy ? &row.weighted : nullptr);
    return row;
}

} // namespace cpu
