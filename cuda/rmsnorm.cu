// RMSNorm, alone and together with the sum of the residual stream before it.

#include "sums.cuh"

namespace gpu {

constexpr int most_row_threads = 512;

// A warp per row, of which a lane has V pieces of W channels: one read of it, one wait for memory. With `delta`
// the row is x + delta, rounded as it is stored in z.
template <class T, int W, int V>
__global__ void __launch_bounds__(128)
    rmsnorm_forward_kernel(T* z, T* y, float* s, const T* x, const T* delta, const T* w, int64_t N,
                           int64_t C, float eps) {
    const int64_t n = (int64_t)blockIdx.x * 4 + threadIdx.x / 32, row = n * C;
    auto channel = [](int i) { return (i * 32 + (int)threadIdx.x % 32) * W; };
    Floats<W> v[V] = {}, more[V] = {}, weight[V] = {};
    let_next_launch_begin();
    UNROLL for (int i = 0; i < V; ++i) if (channel(i) < C) weight[i] = load<W>(w + channel(i));
    wait_for_earlier_launches();
    if (n >= N) return; // the whole warp
    UNROLL for (int i = 0; i < V; ++i) {
        if (channel(i) >= C) continue;
        v[i] = load<W>(x + row + channel(i));
        if (delta) more[i] = load<W>(delta + row + channel(i));
    }
    float sum = 0;
    UNROLL for (int i = 0; i < V; ++i) {
        if (channel(i) >= C) continue;
        if (delta) {
            UNROLL for (int k = 0; k < W; ++k) v[i].v[k] =
                to_float(from_float<T>(v[i].v[k] + more[i].v[k]));
            store(z + row + channel(i), v[i]);
        }
        UNROLL for (int k = 0; k < W; ++k) sum += v[i].v[k] * v[i].v[k];
    }
    const float scale = 1 / sqrtf(warp_sum(sum) / C + eps);
    UNROLL for (int i = 0; i < V; ++i) {
        if (channel(i) >= C) continue;
        UNROLL for (int k = 0; k < W; ++k) v[i].v[k] *= scale * weight[i].v[k];
        store(y + row + channel(i), v[i]);
    }
    if (threadIdx.x % 32 == 0) s[n] = scale;
}

// The same for longer rows: read twice, the second time from the cache.
template <class T, int W>
__global__ void __launch_bounds__(128)
    rmsnorm_forward_long_kernel(T* z, T* y, float* s, const T* x, const T* delta, const T* w,
                                int64_t N, int64_t C, float eps) {
    const int64_t n = (int64_t)blockIdx.x * 4 + threadIdx.x / 32, row = n * C;
    const int first = threadIdx.x % 32 * W;
    let_next_launch_begin();
    wait_for_earlier_launches();
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

// Block b does rows b * chunk ...: a row at a time, V pieces of W channels per thread, all of them in registers.
// Per row u = <w dy, x> s^2 / C (norm_row.h) is summed over the block; what a thread adds to its channels of
// dw ends up in row b of `partial`. `add`: dx is added to.
template <class T, int W, int V>
__global__ void __launch_bounds__(most_row_threads, 1) // without the 1 ptxas would rather spill
    rmsnorm_backward_kernel(T* __restrict__ dx, bool add, float* __restrict__ partial,
                            const float* __restrict__ s, const T* __restrict__ dy,
                            const T* __restrict__ x, const T* __restrict__ w, int64_t N, int64_t C,
                            int64_t chunk) {
    __shared__ float part[2][most_row_threads / 32]; // of even and of odd rows: one barrier per row
    const int64_t begin = blockIdx.x * chunk, end = min(N, begin + chunk);
    const int warps = blockDim.x / 32;
    auto channel = [&](int i) { return (int)(i * blockDim.x + threadIdx.x) * W; };
    Floats<W> weight[V] = {}, dw[V] = {};
    UNROLL for (int i = 0; i < V; ++i) if (channel(i) < C) weight[i] = load<W>(w + channel(i));
    for (int64_t n = begin; n < end; ++n) {
        Floats<W> g[V] = {}, v[V] = {}, d[V] = {};
        float sum = 0;
        UNROLL for (int i = 0; i < V; ++i) {
            if (channel(i) >= C) continue;
            g[i] = load<W>(dy + n * C + channel(i)), v[i] = load<W>(x + n * C + channel(i));
            if (add) d[i] = load<W>(dx + n * C + channel(i));
            UNROLL for (int k = 0; k < W; ++k) sum += weight[i].v[k] * g[i].v[k] * v[i].v[k];
        }
        sum = warp_sum(sum);
        float* of_row = part[n % 2];
        if (threadIdx.x % 32 == 0) of_row[threadIdx.x / 32] = sum;
        __syncthreads(); // a row's parts are read before the barrier of the next, and written after it
        float u = 0;
        for (int i = 0; i < warps; ++i) u += of_row[i];
        const float scale = s[n];
        u *= scale * scale / C;
        UNROLL for (int i = 0; i < V; ++i) {
            if (channel(i) >= C) continue;
            UNROLL for (int k = 0; k < W; ++k) {
                d[i].v[k] += scale * (weight[i].v[k] * g[i].v[k] - v[i].v[k] * u);
                dw[i].v[k] += g[i].v[k] * v[i].v[k] * scale;
            }
            store(dx + n * C + channel(i), d[i]);
        }
    }
    UNROLL for (int i = 0; i < V; ++i) if (channel(i) < C)
        store(partial + blockIdx.x * C + channel(i), dw[i]);
}

template <class T>
static void forward(const char* op, T* z, Tensor y_, Tensor s_, const T* x, const T* delta,
                    Tensor w_, int64_t N, int64_t C, double eps) {
    T* y = arg<T>(op, "y", y_, {N, C});
    float* s = arg<float>(op, "s", s_, {N});
    const T* w = arg<T>(op, "w", w_, {C});
    with_width(C % full_width == 0 && is_aligned(z, y, x, delta, w), [&](auto W) {
        const auto kernel = C <= 32 * W       ? rmsnorm_forward_kernel<T, W, 1>
                            : C <= 4 * 32 * W ? rmsnorm_forward_kernel<T, W, 4>
                                              : rmsnorm_forward_long_kernel<T, W>;
        launch_overlapped(op, kernel, (unsigned)ceil_div(N, 4), 128, 0, z, y, s, x, delta, w, N, C,
                          (float)eps);
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

// Calls f with the number of pieces of W channels per thread for rows of C, as a compile-time constant:
// as many as registers hold.
template <int W, class F> static void with_pieces(const char* op, int64_t C, F f) {
    constexpr int most = W == 1 ? 4 : 2;
    const int64_t pieces = ceil_div(C, W * most_row_threads);
    CHECK(pieces <= most, "%s: rows of %lld channels; this backend takes up to %d", op,
          (long long)C, most * W * most_row_threads);
    if (pieces == 1)
        f(std::integral_constant<int, 1>());
    else
        f(std::integral_constant<int, most>());
}

template <class T>
static void rmsnorm_backward(Gradient dx_, Gradient dw_, Tensor s_, Tensor dy_, Tensor x_,
                             Tensor w_) {
    const char* op = "rmsnorm_backward";
    const int64_t N = x_.shape[0], C = x_.shape[1];
    T* dx = arg<T>(op, "dx", dx_.to, {N, C});
    float* dw = arg<float>(op, "dw", dw_.to, {C});
    const float* s = arg<float>(op, "s", s_, {N});
    const T* dy = arg<T>(op, "dy", dy_, {N, C});
    const T* x = arg<T>(op, "x", x_, {N, C});
    const T* w = arg<T>(op, "w", w_, {C});
    if (N == 0) return;
    // Blocks enough to keep loads in flight on every multiprocessor; their sums are C floats each.
    const int64_t chunk = ceil_div(N, 4 * most_partials), chunks = ceil_div(N, chunk);
    static_assert(4 * most_partials <= rows_at_once);
    float* partial = static_cast<float*>(scratch(chunks * C * sizeof(float)));
    with_width(C % full_width == 0 && is_aligned(dx, dy, x, w), [&](auto W) {
        with_pieces<W>(op, C, [&](auto V) {
            const int64_t threads = ceil_div(ceil_div(C, W * V), 32) * 32;
            launch(op, rmsnorm_backward_kernel<T, W, V>, (unsigned)chunks, (unsigned)threads, 0, dx,
                   dx_.add, partial, s, dy, x, w, N, C, chunk);
        });
    });
    column_sums<float>(op, dw, dw_.add, partial, chunks, C, nullptr);
}

template <class T> void install_rmsnorm(Ops& ops) {
    ops.rmsnorm_forward = rmsnorm_forward<T>;
    ops.rmsnorm_backward = rmsnorm_backward<T>;
    ops.residual_rmsnorm_forward = residual_rmsnorm_forward<T>;
}
template void install_rmsnorm<float>(Ops&);
template void install_rmsnorm<bf16>(Ops&);

} // namespace gpu
