// RMSNorm of every query and key head by itself.

#include "ops/install.h"
#include "ops/norm_row.h"

namespace cpu {

template <class T>
static void head_norm_forward(Tensor y, Tensor s, Tensor x, Tensor wq, Tensor wk, int H, int K,
                              double eps) {
    const char* op = "head_norm_forward";
    int64_t N = x.shape[0], width = x.shape[1], D = wq.shape[0], heads = H + K;
    T* yp = arg<T>(op, "y", y, {N, (H + 2 * K) * D});
    T* sp = arg<T>(op, "s", s, {N, heads});
    const T* xp = arg<T>(op, "x", x, {N, (H + 2 * K) * D});
    const T* wqp = arg<T>(op, "wq", wq, {D});
    const T* wkp = arg<T>(op, "wk", wk, {D});
    each_row(N, N * width > 1 << 14, [&](int64_t n) {
        const T* xn = xp + n * width;
        T* yn = yp + n * width;
        for (int64_t h = 0; h < heads; ++h)
            sp[n * heads + h] = norm_row(yn + h * D, xn + h * D, h < H ? wqp : wkp, D, T(eps));
        std::memcpy(yn + heads * D, xn + heads * D, K * D * sizeof(T)); // values
    });
}

// dwq and dwk sum over rows: by chunks that do not depend on the number of threads, then in order.
template <class T>
static void head_norm_backward(Gradient dx, Gradient dwq, Gradient dwk, Tensor s, Tensor dy,
                               Tensor x, Tensor wq, Tensor wk, int H, int K) {
    const char* op = "head_norm_backward";
    int64_t N = x.shape[0], width = x.shape[1], D = wq.shape[0], heads = H + K;
    T* dxp = arg<T>(op, "dx", dx.to, {N, (H + 2 * K) * D});
    T* dwqp = arg<T>(op, "dwq", dwq.to, {D});
    T* dwkp = arg<T>(op, "dwk", dwk.to, {D});
    const T* sp = arg<T>(op, "s", s, {N, heads});
    const T* dyp = arg<T>(op, "dy", dy, {N, (H + 2 * K) * D});
    const T* xp = arg<T>(op, "x", x, {N, (H + 2 * K) * D});
    const T* wqp = arg<T>(op, "wq", wq, {D});
    const T* wkp = arg<T>(op, "wk", wk, {D});
    const int64_t rows = 64, chunks = (N + rows - 1) / rows;
    T* partial = static_cast<T*>(scratch(Slot::partial_sums, chunks * 2 * D * sizeof(T)));
    each_row(chunks, N * width > 1 << 14, [&](int64_t chunk) {
        T* dw_chunk = partial + chunk * 2 * D; // dwq, then dwk
        std::memset(dw_chunk, 0, 2 * D * sizeof(T));
        for (int64_t n = chunk * rows; n < std::min(N, (chunk + 1) * rows); ++n) {
            const T *dyn = dyp + n * width, *xn = xp + n * width;
            T* dxn = dxp + n * width;
            for (int64_t h = 0; h < heads; ++h)
                norm_row_backward(dxn + h * D, dx.add, dw_chunk + (h < H ? 0 : D), dyn + h * D,
                                  xn + h * D, h < H ? wqp : wkp, sp[n * heads + h], D);
            for (int64_t i = heads * D; i < width; ++i) // values
                dxn[i] = dx.add ? dxn[i] + dyn[i] : dyn[i];
        }
    });
    if (!dwq.add) std::fill(dwqp, dwqp + D, T(0));
    if (!dwk.add) std::fill(dwkp, dwkp + D, T(0));
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
        for (int64_t d = 0; d < D; ++d) {
            dwqp[d] += partial[chunk * 2 * D + d];
            dwkp[d] += partial[chunk * 2 * D + D + d];
        }
}

template <class T> void install_head_norm(Ops& ops) {
    ops.head_norm_forward = head_norm_forward<T>;
    ops.head_norm_backward = head_norm_backward<T>;
}
template void install_head_norm<float>(Ops&);
template void install_head_norm<double>(Ops&);

} // namespace cpu
