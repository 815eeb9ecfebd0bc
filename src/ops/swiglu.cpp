// The gated unit of the feed-forward layer.

#include "ops/install.h"
#include "ops/row_math.h"

namespace cpu {

template <class T> static void swiglu_forward(Tensor y, Tensor gate_up) {
    const char* op = "swiglu_forward";
    int64_t N = y.shape[0], F = y.shape[1];
    T* yp = arg<T>(op, "y", y, {N, F});
    const T* xp = arg<T>(op, "gate_up", gate_up, {N, 2 * F});
    each_row(N, N * F > 1 << 12, [&](int64_t n) {
        T* yn = yp + n * F;
        const T *gate = xp + n * 2 * F, *up = gate + F;
        for_vectors<T>(F, [&](int64_t f, int k) {
            Vec<T> g = load(gate + f, k), u = load(up + f, k);
            store(yn + f, g / (T(1) + exp(-g)) * u, k);
        });
    });
}

// With sigma = 1 / (1 + exp(-g)):  silu'(g) = sigma (1 + g (1 - sigma)).
template <class T> static void swiglu_backward(Gradient dgate_up, Tensor dy, Tensor gate_up) {
    const char* op = "swiglu_backward";
    int64_t N = dy.shape[0], F = dy.shape[1];
    T* dxp = arg<T>(op, "dgate_up", dgate_up.to, {N, 2 * F});
    const T* dyp = arg<T>(op, "dy", dy, {N, F});
    const T* xp = arg<T>(op, "gate_up", gate_up, {N, 2 * F});
    each_row(N, N * F > 1 << 12, [&](int64_t n) {
        T *dgate = dxp + n * 2 * F, *dup = dgate + F;
        const T *gate = xp + n * 2 * F, *up = gate + F, *dyn = dyp + n * F;
        for_vectors<T>(F, [&](int64_t f, int k) {
            Vec<T> g = load(gate + f, k), u = load(up + f, k), d = load(dyn + f, k);
            Vec<T> sigma = T(1) / (T(1) + exp(-g));
            Vec<T> slope = sigma * fma(g, T(1) - sigma, broadcast(T(1)));
            auto before = [&](const T* x) { return dgate_up.add ? load(x, k) : broadcast(T(0)); };
            store<T>(dgate + f, fma(d * u, slope, before(dgate + f)), k);
            store<T>(dup + f, fma(d * g, sigma, before(dup + f)), k);
        });
    });
}

template <class T> void install_swiglu(Ops& ops) {
    ops.swiglu_forward = swiglu_forward<T>;
    ops.swiglu_backward = swiglu_backward<T>;
}
template void install_swiglu<float>(Ops&);
template void install_swiglu<double>(Ops&);

} // namespace cpu
