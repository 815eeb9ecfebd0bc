// Sums of the residual stream.

#include "device.cuh"

namespace gpu {

// z = x + y; z may be x. What is left over after the last full vector is done one by one.
template <class T, int W>
__global__ void __launch_bounds__(256) sum_kernel(T* z, const T* x, const T* y, int64_t size) {
    const int64_t at = ((int64_t)blockIdx.x * 256 + threadIdx.x) * W;
    let_next_launch_begin();
    wait_for_earlier_launches();
    if (at + W <= size) {
        Floats<W> sum = load<W>(x + at);
        const Floats<W> more = load<W>(y + at);
        UNROLL for (int i = 0; i < W; ++i) sum.v[i] += more.v[i];
        store(z + at, sum);
    } else {
        for (int64_t i = at; i < size; ++i) z[i] = from_float<T>(to_float(x[i]) + to_float(y[i]));
    }
}

template <class T>
static void launch_sum(const char* op, T* z, const T* x, const T* y, int64_t size) {
    with_width(is_aligned(z, x, y), [&](auto W) {
        launch_overlapped(op, sum_kernel<T, W>, (unsigned)ceil_div(size, 256 * W), 256, 0, z, x, y,
                          size);
    });
}

template <class T> static void residual_forward(Tensor z, Tensor x, Tensor delta) {
    const char* op = "residual_forward";
    const int64_t N = x.shape[0], C = x.shape[1];
    launch_sum<T>(op, arg<T>(op, "z", z, {N, C}), arg<T>(op, "x", x, {N, C}),
                  arg<T>(op, "delta", delta, {N, C}), N * C);
}

template <class T> static void add(Tensor dx, Tensor dy) {
    const char* op = "add";
    CHECK(dx.size() == dy.size() && dx.rank == dy.rank, "add: dx is %s, dy is %s",
          shape_text(dx).c_str(), shape_text(dy).c_str());
    const int64_t size = dx.size();
    T* to = arg<T>(op, "dx", dx.view({size}), {size});
    launch_sum<T>(op, to, to, arg<T>(op, "dy", dy.view({size}), {size}), size);
}

template <class T> void install_residual(Ops& ops) {
    ops.residual_forward = residual_forward<T>;
    ops.add = add<T>;
}
template void install_residual<float>(Ops&);
template void install_residual<bf16>(Ops&);

} // namespace gpu
