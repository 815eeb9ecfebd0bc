// The gated unit of the feed-forward layer.

#include "device.cuh"

namespace gpu {

template <class T, int W>
__global__ void __launch_bounds__(256)
    swiglu_forward_kernel(T* y, const T* gate_up, int64_t threads, int64_t F) {
    const int64_t thread = (int64_t)blockIdx.x * 256 + threadIdx.x;
    let_next_launch_begin();
    wait_for_earlier_launches();
    if (thread >= threads) return;
    const int64_t at = thread * W, n = at / F, gate = at + n * F; // n * 2F + f
    const Floats<W> g = load<W>(gate_up + gate), u = load<W>(gate_up + gate + F);
    Floats<W> out;
    UNROLL for (int i = 0; i < W; ++i) out.v[i] = g.v[i] * sigmoid(g.v[i]) * u.v[i];
    store(y + at, out);
}

// With sigma = 1 / (1 + exp(-g)):  silu'(g) = sigma (1 + g (1 - sigma)).
template <bool add, class T, int W>
__global__ void __launch_bounds__(256)
    swiglu_backward_kernel(T* __restrict__ dgate_up, const T* __restrict__ dy,
                           const T* __restrict__ gate_up, int64_t threads, int64_t F) {
    const int64_t thread = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (thread >= threads) return;
    const int64_t at = thread * W, n = at / F, gate = at + n * F;
    const Floats<W> g = load<W>(gate_up + gate), u = load<W>(gate_up + gate + F);
    const Floats<W> d = load<W>(dy + at);
    Floats<W> dgate = {}, dup = {};
    if (add) dgate = load<W>(dgate_up + gate), dup = load<W>(dgate_up + gate + F);
    UNROLL for (int i = 0; i < W; ++i) {
        const float sigma = sigmoid(g.v[i]);
        dgate.v[i] += d.v[i] * u.v[i] * sigma * (1 + g.v[i] * (1 - sigma));
        dup.v[i] += d.v[i] * g.v[i] * sigma;
    }
    store(dgate_up + gate, dgate);
    store(dgate_up + gate + F, dup);
}

template <class T> static void swiglu_forward(Tensor y_, Tensor gate_up_) {
    const char* op = "swiglu_forward";
    const int64_t N = y_.shape[0], F = y_.shape[1];
    T* y = arg<T>(op, "y", y_, {N, F});
    const T* gate_up = arg<T>(op, "gate_up", gate_up_, {N, 2 * F});
    with_width(F % full_width == 0 && is_aligned(y, gate_up), [&](auto W) {
        launch_overlapped(op, swiglu_forward_kernel<T, W>, (unsigned)ceil_div(N * F / W, 256), 256,
                          0, y, gate_up, N * F / W, F);
    });
}

template <class T> static void swiglu_backward(Gradient dgate_up_, Tensor dy_, Tensor gate_up_) {
    const char* op = "swiglu_backward";
    const int64_t N = dy_.shape[0], F = dy_.shape[1];
    T* dgate_up = arg<T>(op, "dgate_up", dgate_up_.to, {N, 2 * F});
    const T* dy = arg<T>(op, "dy", dy_, {N, F});
    const T* gate_up = arg<T>(op, "gate_up", gate_up_, {N, 2 * F});
    with_width(F % full_width == 0 && is_aligned(dgate_up, dy, gate_up), [&](auto W) {
        const auto kernel = dgate_up_.add ? swiglu_backward_kernel<true, T, W>
                                          : swiglu_backward_kernel<false, T, W>;
        launch(op, kernel, (unsigned)ceil_div(N * F / W, 256), 256, 0, dgate_up, dy, gate_up,
               N * F / W, F);
    });
}

template <class T> void install_swiglu(Ops& ops) {
    ops.swiglu_forward = swiglu_forward<T>;
    ops.swiglu_backward = swiglu_backward<T>;
}
template void install_swiglu<float>(Ops&);
template void install_swiglu<bf16>(Ops&);

} // namespace gpu
