// Sums of the residual stream.

#include "ops/install.h"

namespace cpu {

template <class T> static void residual_forward(Tensor z, Tensor x, Tensor delta) {
    const char* op = "residual_forward";
    int64_t N = x.shape[0], C = x.shape[1];
    T* out = arg<T>(op, "z", z, {N, C});
    const T* a = arg<T>(op, "x", x, {N, C});
    const T* b = arg<T>(op, "delta", delta, {N, C});
    each_row(N, N * C > 1 << 14, [&](int64_t n) {
        for (int64_t i = n * C; i < (n + 1) * C; ++i) out[i] = a[i] + b[i];
    });
}

template <class T> static void add(Tensor dx, Tensor dy) {
    CHECK(dx.size() == dy.size() && dx.rank == dy.rank, "add: dx is %s, dy is %s",
          shape_text(dx).c_str(), shape_text(dy).c_str());
    T* to = dx.as<T>();
    const T* from = dy.as<T>();
    int64_t size = dx.size();
#pragma omp parallel for simd schedule(static) if (size > 1 << 14)
    for (int64_t i = 0; i < size; ++i) to[i] += from[i];
}

template <class T> void install_residual(Ops& ops) {
    ops.residual_forward = residual_forward<T>;
    ops.add = add<T>;
}
template void install_residual<float>(Ops&);
template void install_residual<double>(Ops&);

} // namespace cpu
