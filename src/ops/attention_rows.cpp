// The online softmax: per row m, l and y of attention_rows.h, a block of keys at a time.

#include "ops/attention_rows.h"

namespace cpu {

template <class T>
void attend_block(const QueryRows<T>& rows, int first, const T* keys, const T* values) {
    const int stride = rows.stride;
    for (int r0 = 0; r0 < rows.count; r0 += tile_rows) {
        const int R = std::min(tile_rows, rows.count - r0);
        int keys_seen[tile_rows];
        for (int r = 0; r < R; ++r) keys_seen[r] = seen(rows.limit[r0 + r], first);
        const int most = keys_seen[R - 1];
        if (most == 0) continue;
        const int vectors = (most + lanes<T> - 1) / lanes<T>;
        T *scores = rows.scores, *y = rows.y + r0 * stride, *m = rows.m + r0, *l = rows.l + r0;
        multiply<T, false, false, true>(scores, key_block, rows.q + r0 * stride, stride, keys, 0, R,
                                        vectors * lanes<T>, rows.D);

        // What is summed so far is rescaled by exp(m_old - m_new).
        constexpr int padded = (tile_rows + lanes<T> - 1) / lanes<T> * lanes<T>;
        T rescale[padded] = {};
        for (int r = 0; r < R; ++r) {
            const int n = keys_seen[r];
            Vec<T> top = broadcast(-std::numeric_limits<T>::infinity());
            for (int v = 0; v < vectors; ++v) {
                T* at = scores + r * key_block + v * lanes<T>;
                Vec<T> s = load(at);
                const int end = (v + 1) * lanes<T>;
                if (end > n) {
                    s = before<T>(v, n) ? s : broadcast(-std::numeric_limits<T>::infinity());
                    store(at, s);
                }
                top = max(s, top);
            }
            T m_new = std::max(m[r], reduce_max<T>(top));
            rescale[r] = m[r] - m_new;
            m[r] = m_new;
        }
        for (int i = 0; i < padded; i += lanes<T>) store(rescale + i, exp(load(rescale + i)));
        for (int r = 0; r < R; ++r) {
            Vec<T> sum{};
            for (int v = 0; v < vectors; ++v) {
                T* at = scores + r * key_block + v * lanes<T>;
                Vec<T> p = exp(load(at) - broadcast(m[r]));
                store(at, p);
                sum += p;
            }
            l[r] = fma(l[r], rescale[r], reduce_add<T>(sum));
            for (int d = 0; d < stride; d += lanes<T>)
                store(y + r * stride + d, load(y + r * stride + d) * broadcast(rescale[r]));
        }

        multiply<T, false, true>(y, stride, scores, key_block, values, stride, R, stride, most,
                                 keys_seen);
    }
}

template void attend_block(const QueryRows<float>&, int, const float*, const float*);
template void attend_block(const QueryRows<double>&, int, const double*, const double*);

} // namespace cpu
