// RMSNorm, alone and together with the sum of the residual stream before it.

#include "sums.cuh"

namespace gpu {

// A warp per row. The row is read twice; the second time it comes from the cache. With `delta` the row is
// x + delta, rounded as it is stored in z.
template <class T, int W>
__global__ void __launch_bounds__(128)
    rmsnorm_forward_kernel(T* z, T* __restrict__ y, float* __restrict__ s, const T* x,
                           const T* delta, const T* __restrict__ w, int64_t N, int64_t C,
                           float eps) {
    const int64_t n = (int64_t)blockIdx.x * 4 + threadIdx.x / 32, row = n * C;
    const int first = threadIdx.x % 32 * W;
    if (n >= N) return; // the whole warp
    float sum = 0;
    UNROLL_BY(4) for (int64_t c = first; c < C; c += 32 * W) {
        Floats<W> v = load<W>(x + row + c);
        if (delta) {
            const Floats<W> more = load<W>(delta + row + c);
            UNROLL for (int i = 0; i < W; ++i) v.v[i] = to_float(from_float<T>(v.v[i] + more.v[i]));
            store(z + row + c, v);
        }
        UNROLL for (int i = 0; i < W; ++i) sum += v.v[i] * v.v[i];
    }
    const float scale = 1 / sqrtf(warp_sum(sum) / C + eps);
    const T* from = delta ? z : x;
    UNROLL_BY(4) for (int64_t c = first; c < C; c += 32 * W) {
        Floats<W> v = load<W>(from + row + c);
        const Floats<W> weight = load<W>(w + c);
        UNROLL for (int i = 0; i < W; ++i) v.v[i] *= scale * weight.v[i];
        store(y + row + c, v);
    }
    if (threadIdx.x % 32 == 0) s[n] = scale;
}

// Block b does rows b * chunk ... in groups of 8: first a warp per row makes u = <w dy, x> s^2 / C
// (norm_row.h), then threads own channels, write dx of the 8 rows and add to the block's dw, which ends up in row b of `partial`.
template <class T, int W>
__global__ void __launch_bounds__(256)
    rmsnorm_backward_kernel(T* __restrict__ dx, float* __restrict__ partial,
                            const float* __restrict__ s, const T* __restrict__ dy,
                            const T* __restrict__ x, const T* __restrict__ w, int64_t N, int64_t C,
                            int64_t chunk) {
    DYN_SHARED(float, dw); // (C)
    __shared__ float row_s[8], row_u[8];
    const int64_t begin = blockIdx.x * chunk, end = min(N, begin + chunk);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int64_t c = (int64_t)threadIdx.x * W; c < C; c += 256 * W)
        UNROLL for (int i = 0; i < W; ++i) dw[c + i] = 0;
    for (int64_t first = begin; first < end; first += 8) {
        const int rows = (int)min((int64_t)8, end - first);
        if (warp < rows) {
            const int64_t n = first + warp;
            float sum = 0;
            UNROLL_BY(2) for (int64_t c = lane * W; c < C; c += 32 * W) {
                const Floats<W> g = load<W>(dy + n * C + c), v = load<W>(x + n * C + c),
                                weight = load<W>(w + c);
                UNROLL for (int i = 0; i < W; ++i) sum += weight.v[i] * g.v[i] * v.v[i];
            }
            sum = warp_sum(sum);
            if (lane == 0) {
                row_s[warp] = s[n];
                row_u[warp] = sum * s[n] * s[n] / C;
            }
        }
        __syncthreads();
        for (int64_t c = (int64_t)threadIdx.x * W; c < C; c += 256 * W) {
            const Floats<W> weight = load<W>(w + c);
            Floats<W> total;
            UNROLL for (int i = 0; i < W; ++i) total.v[i] = dw[c + i];
            UNROLL_BY(2) for (int r = 0; r < rows; ++r) {
                const int64_t at = (first + r) * C + c;
                const Floats<W> g = load<W>(dy + at), v = load<W>(x + at);
                Floats<W> d = load<W>(dx + at);
                UNROLL for (int i = 0; i < W; ++i) {
                    d.v[i] += row_s[r] * (weight.v[i] * g.v[i] - v.v[i] * row_u[r]);
                    total.v[i] += g.v[i] * v.v[i] * row_s[r];
                }
                store(dx + at, d);
            }
            UNROLL for (int i = 0; i < W; ++i) dw[c + i] = total.v[i];
        }
        __syncthreads(); // row_s and row_u are written again
    }
    for (int64_t c = (int64_t)threadIdx.x * W; c < C; c += 256 * W)
        UNROLL for (int i = 0; i < W; ++i) partial[blockIdx.x * C + c + i] = dw[c + i];
}

template <class T>
static void forward(const char* op, T* z, Tensor y_, Tensor s_, const T* x, const T* delta,
                    Tensor w_, int64_t N, int64_t C, double eps) {
    T* y = arg<T>(op, "y", y_, {N, C});
    float* s = arg<float>(op, "s", s_, {N});
    const T* w = arg<T>(op, "w", w_, {C});
    with_width(C % full_width == 0 && is_aligned(z, y, x, delta, w), [&](auto W) {
        launch(op, rmsnorm_forward_kernel<T, W>, (unsigned)ceil_div(N, 4), 128, 0, z, y, s, x,
               delta, w, N, C, (float)eps);
    });
}

template <class T> static void rmsnorm_forward(Tensor y, Tensor s, Tensor x, Tensor w, double eps) {
    const char* op = "rmsnorm_forward";
    const int64_t N = x.shape[0], C = x.shape[1];
    forward<T>(op, nullptr, y, s, arg<T>(op, "x", x, {N, C}), nullptr, w, N, C, eps);
}

template <class T>
static void residual_rmsnorm_forward(Tensor z, Tensor y, Tensor s, Tensor x, Tensor delta, Tensor w,
                                     double eps) {
    const char* op = "residual_rmsnorm_forward";
    const int64_t N = x.shape[0], C = x.shape[1];
    forward<T>(op, arg<T>(op, "z", z, {N, C}), y, s, arg<T>(op, "x", x, {N, C}),
               arg<T>(op, "delta", delta, {N, C}), w, N, C, eps);
}

template <class T>
static void rmsnorm_backward(Tensor dx_, Tensor dw_, Tensor s_, Tensor dy_, Tensor x_, Tensor w_) {
    const char* op = "rmsnorm_backward";
    const int64_t N = x_.shape[0], C = x_.shape[1];
    T* dx = arg<T>(op, "dx", dx_, {N, C});
    float* dw = arg<float>(op, "dw", dw_, {C});
    const float* s = arg<float>(op, "s", s_, {N});
    const T* dy = arg<T>(op, "dy", dy_, {N, C});
    const T* x = arg<T>(op, "x", x_, {N, C});
    const T* w = arg<T>(op, "w", w_, {C});
    if (N == 0) return;
    const int64_t chunk = ceil_div(ceil_div(N, most_partials), 8) * 8, chunks = ceil_div(N, chunk);
    float* partial = static_cast<float*>(scratch(chunks * C * sizeof(float)));
    with_width(C % full_width == 0 && is_aligned(dx, dy, x, w), [&](auto W) {
        launch(op, rmsnorm_backward_kernel<T, W>, (unsigned)chunks, 256, C * sizeof(float), dx,
               partial, s, dy, x, w, N, C, chunk);
    });
    add_column_sums<float>(op, dw, partial, chunks, C, nullptr);
}

template <class T> void install_rmsnorm(Ops& ops) {
    ops.rmsnorm_forward = rmsnorm_forward<T>;
    ops.rmsnorm_backward = rmsnorm_backward<T>;
    ops.residual_rmsnorm_forward = residual_rmsnorm_forward<T>;
}
template void install_rmsnorm<float>(Ops&);
template void install_rmsnorm<bf16>(Ops&);

} // namespace gpu
