// The gated unit of the feed-forward layer.

#include "device.cuh"

namespace gpu {

constexpr int swiglu_threads = 128;

// Of the thread of block (row, part of the row): its first column, and where that is in y and in gate_up.
template <int W> struct GatePlace {
    int64_t f, y, gate;
    __device__ __forceinline__ explicit GatePlace(int64_t F)
        : f(((int64_t)blockIdx.y * swiglu_threads + threadIdx.x) * W), y(blockIdx.x * F + f),
          gate(blockIdx.x * 2 * F + f) {}
};
template <int W> dim3 gate_blocks(int64_t N, int64_t F) {
    return dim3((unsigned)N, (unsigned)ceil_div(F, (int64_t)W * swiglu_threads));
}

template <class T, int W>
__global__ void __launch_bounds__(swiglu_threads)
    swiglu_forward_kernel(T* y, const T* gate_up, int64_t F) {
    const GatePlace<W> at(F);
    let_next_launch_begin();
    wait_for_earlier_launches();
    if (at.f >= F) return;
    const Floats<W> g = load<W>(gate_up + at.gate), u = load<W>(gate_up + at.gate + F);
    Floats<W> out;
    UNROLL for (int i = 0; i < W; ++i) out.v[i] = g.v[i] * sigmoid(g.v[i]) * u.v[i];
    store(y + at.y, out);
}

// With sigma = 1 / (1 + exp(-g)):  silu'(g) = sigma (1 + g (1 - sigma)).
template <bool add, class T, int W>
__global__ void __launch_bounds__(swiglu_threads)
    swiglu_backward_kernel(T* __restrict__ dgate_up, const T* __restrict__ dy,
                           const T* __restrict__ gate_up, int64_t F) {
    const GatePlace<W> at(F);
    if (at.f >= F) return;
    const Floats<W> g = load<W>(gate_up + at.gate), u = load<W>(gate_up + at.gate + F);
    const Floats<W> d = load<W>(dy + at.y);
    Floats<W> dgate = {}, dup = {};
    if (add) dgate = load<W>(dgate_up + at.gate), dup = load<W>(dgate_up + at.gate + F);
    UNROLL for (int i = 0; i < W; ++i) {
        const float sigma = sigmoid(g.v[i]);
        dgate.v[i] += d.v[i] * u.v[i] * sigma * (1 + g.v[i] * (1 - sigma));
        dup.v[i] += d.v[i] * g.v[i] * sigma;
    }
    store(dgate_up + at.gate, dgate);
    store(dgate_up + at.gate + F, dup);
}

template <class T> static void swiglu_forward(Tensor y_, Tensor gate_up_) {
    const char* op = "swiglu_forward";
    const int64_t N = y_.shape[0], F = y_.shape[1];
    T* y = arg<T>(op, "y", y_, {N, F});
    const T* gate_up = arg<T>(op, "gate_up", gate_up_, {N, 2 * F});
    with_width(F % full_width == 0 && is_aligned(y, gate_up), [&](auto W) {
        launch_overlapped(op, swiglu_forward_kernel<T, W>, gate_blocks<W>(N, F), swiglu_threads, 0,
                          y, gate_up, F);
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
        launch(op, kernel, gate_blocks<W>(N, F), swiglu_threads, 0, dgate_up, dy, gate_up, F);
    });
}

template <class T> void install_swiglu(Ops& ops) {
    ops.swiglu_forward = swiglu_forward<T>;
    ops.swiglu_backward = swiglu_backward<T>;
}
template void install_swiglu<float>(Ops&);
template void install_swiglu<bf16>(Ops&);

} // namespace gpu
