#pragma once
// RMSNorm of one row, for whole rows (rmsnorm) and for single heads (head_norm).

#include "ops/row_math.h"

namespace cpu {

// y = w x s; returns s = (|x|^2 / C + eps)^(-1/2).
template <class T> inline T norm_row(T* y, const T* x, const T* w, int64_t C, T eps) {
    const T s = 1 / std::sqrt(dot(x, x, C) / C + eps);
    for_vectors<T>(C,
                   [&](int64_t c, int n) { store(y + c, load(w + c, n) * load(x + c, n) * s, n); });
    return s;
}

// With g = w dy and ds/dx_c = -s^3 x_c / C:  dx_c = s g_c + <g, x> ds/dx_c = s (g_c - u x_c), where
// u = <g, x> s^2 / C.  Adds to dw, and to dx or, without `add`, writes it.
template <class T>
inline void norm_row_backward(T* dx, bool add, T* dw, const T* dy, const T* x, const T* w, T s,
                              int64_t C) {
    const T u = dot(dy, x, w, C) * s * s / C;
    for_vectors<T>(C, [&](int64_t c, int n) {
        Vec<T> dyc = load(dy + c, n), xc = load(x + c, n);
        Vec<T> inner = fma(-xc, broadcast(u), load(w + c, n) * dyc);
        store(dx + c, fma(broadcast(s), inner, add ? load(dx + c, n) : broadcast(T(0))), n);
        store(dw + c, fma(dyc, xc * s, load(dw + c, n)), n);
    });
}

} // namespace cpu
