// RMSNorm, alone and together with the sum of the residual stream before it.

#include "ops/install.h"
#include "ops/norm_row.h"

namespace cpu {

template <class T> static void rmsnorm_forward(Tensor y, Tensor s, Tensor x, Tensor w, double eps) {
    const char* op = "rmsnorm_forward";
    int64_t N = x.shape[0], C = x.shape[1];
    T* yp = arg<T>(op, "y", y, {N, C});
    T* sp = arg<T>(op, "s", s, {N});
    const T* xp = arg<T>(op, "x", x, {N, C});
    const T* wp = arg<T>(op, "w", w, {C});
    each_row(N, N * C > 1 << 14,
             [&](int64_t n) { sp[n] = norm_row(yp + n * C, xp + n * C, wp, C, T(eps)); });
}

template <class T>
static void residual_rmsnorm_forward(Tensor z, Tensor y, Tensor s, Tensor x, Tensor delta, Tensor w,
                                     double eps) {
    const char* op = "residual_rmsnorm_forward";
    int64_t N = x.shape[0], C = x.shape[1];
    T* zp = arg<T>(op, "z", z, {N, C});
    T* yp = arg<T>(op, "y", y, {N, C});
    T* sp = arg<T>(op, "s", s, {N});
    const T* xp = arg<T>(op, "x", x, {N, C});
    const T* dp = arg<T>(op, "delta", delta, {N, C});
    const T* wp = arg<T>(op, "w", w, {C});
    each_row(N, N * C > 1 << 14, [&](int64_t n) {
        for (int64_t i = n * C; i < (n + 1) * C; ++i) zp[i] = xp[i] + dp[i];
        sp[n] = norm_row(yp + n * C, zp + n * C, wp, C, T(eps));
    });
}

// dw sums over rows: each chunk of 64 rows into a line of scratch, then the lines in order. Chunks do
// not depend on the number of threads, nor does the result.
template <class T>
static void rmsnorm_backward(Gradient dx, Gradient dw, Tensor s, Tensor dy, Tensor x, Tensor w) {
    const char* op = "rmsnorm_backward";
    int64_t N = x.shape[0], C = x.shape[1];
    T* dxp = arg<T>(op, "dx", dx.to, {N, C});
    T* dwp = arg<T>(op, "dw", dw.to, {C});
    const T* sp = arg<T>(op, "s", s, {N});
    const T* dyp = arg<T>(op, "dy", dy, {N, C});
    const T* xp = arg<T>(op, "x", x, {N, C});
    const T* wp = arg<T>(op, "w", w, {C});
    const int64_t rows = 64, chunks = (N + rows - 1) / rows;
    T* partial = static_cast<T*>(scratch(Slot::partial_sums, chunks * C * sizeof(T)));
#pragma omp parallel if (N * C > 1 << 14)
    {
#pragma omp for
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
            T* dw_chunk = partial + chunk * C;
            std::memset(dw_chunk, 0, C * sizeof(T));
            for (int64_t n = chunk * rows; n < std::min(N, (chunk + 1) * rows); ++n)
                norm_row_backward(dxp + n * C, dx.add, dw_chunk, dyp + n * C, xp + n * C, wp, sp[n],
                                  C);
        }
#pragma omp for
        for (int64_t c = 0; c < C; ++c) {
            T total = 0;
            for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partial[chunk * C + c];
            dwp[c] = dw.add ? dwp[c] + total : total;
        }
    }
}

template <class T> void install_rmsnorm(Ops& ops) {
    ops.rmsnorm_forward = rmsnorm_forward<T>;
    ops.rmsnorm_backward = rmsnorm_backward<T>;
    ops.residual_rmsnorm_forward = residual_rmsnorm_forward<T>;
}
template void install_rmsnorm<float>(Ops&);
template void install_rmsnorm<double>(Ops&);

} // namespace cpu
