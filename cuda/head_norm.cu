// RMSNorm of every query and key head by itself. A head is worked on by a group of neighbouring lanes, as
// many as its width needs at 8 elements each, so a warp does up to 32 heads at once.

#include "sums.cuh"

#include <bit>

namespace gpu {

constexpr int most_width = 32 * full_width; // of a head

// Place of a lane's i-th element in the head: 8 neighbours, or every `lanes`-th element (W = 1).
template <int W> __device__ __forceinline__ int place(int lane, int lanes, int i) {
    return i / W * lanes * W + lane * W + i % W;
}

// The lane's 8 elements; those behind the head's end are 0.
template <int W, class T>
__device__ __forceinline__ Floats<8> load_part(const T* head, int D, int lane, int lanes) {
    Floats<8> x;
    UNROLL for (int i = 0; i < 8; i += W) {
        Floats<W> part = {};
        const int d = place<W>(lane, lanes, i);
        if (d < D) part = load<W>(head + d);
        UNROLL for (int k = 0; k < W; ++k) x.v[i + k] = part.v[k];
    }
    return x;
}
template <int W, class T>
__device__ __forceinline__ void store_part(T* head, const Floats<8>& x, int D, int lane,
                                           int lanes) {
    UNROLL for (int i = 0; i < 8; i += W) {
        Floats<W> part;
        UNROLL for (int k = 0; k < W; ++k) part.v[k] = x.v[i + k];
        const int d = place<W>(lane, lanes, i);
        if (d < D) store(head + d, part);
    }
}

template <class T, int W>
__global__ void __launch_bounds__(256)
    head_norm_forward_kernel(T* __restrict__ y, float* __restrict__ s, const T* __restrict__ x,
                             const T* __restrict__ wq, const T* __restrict__ wk, int64_t heads,
                             int H, int K, int D, int lanes, float eps) {
    const int all = H + 2 * K, lane = threadIdx.x % lanes;
    const int64_t unit = ((int64_t)blockIdx.x * 256 + threadIdx.x) / lanes; // head of the batch
    const bool inside = unit < heads;
    const int64_t n = inside ? unit / all : 0;
    const int h = (int)(unit % all);
    Floats<8> v = {};
    if (inside) v = load_part<W>(x + unit * D, D, lane, lanes);
    float sum = 0;
    UNROLL for (int i = 0; i < 8; ++i) sum += v.v[i] * v.v[i];
    sum = warp_sum(sum, lanes);
    if (!inside) return;
    if (h < H + K) {
        const float scale = 1 / sqrtf(sum / D + eps);
        const Floats<8> weight = load_part<W>(h < H ? wq : wk, D, lane, lanes);
        UNROLL for (int i = 0; i < 8; ++i) v.v[i] *= scale * weight.v[i];
        if (lane == 0) s[n * (H + K) + h] = scale;
    } // else a value: unchanged
    store_part<W>(y + unit * D, v, D, lane, lanes);
}

// Block b does the heads of rows b * chunk ..., each group of lanes every so-manieth of them, and leaves
// dwq and dwk of these in row b of `partial`, (blocks, 2 D).
template <class T, int W>
__global__ void __launch_bounds__(256, 2)
    head_norm_backward_kernel(T* __restrict__ dx, float* __restrict__ partial,
                              const float* __restrict__ s, const T* __restrict__ dy,
                              const T* __restrict__ x, const T* __restrict__ wq,
                              const T* __restrict__ wk, int64_t N, int H, int K, int D, int lanes,
                              int64_t chunk, bool add) {
    DYN_SHARED(float, sums); // (groups, 2 D)
    const int all = H + 2 * K, lane = threadIdx.x % lanes;
    const int group = threadIdx.x / lanes, groups = 256 / lanes;
    const int64_t begin = blockIdx.x * chunk * all, end = min(N, (blockIdx.x + 1) * chunk) * all;
    Floats<8> dwq = {}, dwk = {};
    for (int64_t first = begin; first < end; first += groups) { // the same for all lanes
        const int64_t unit = first + group;
        const bool inside = unit < end;
        const int h = (int)(unit % all);
        const bool query = h < H;
        Floats<8> v = {}, g = {}, weight = {};
        if (inside) {
            v = load_part<W>(x + unit * D, D, lane, lanes);
            g = load_part<W>(dy + unit * D, D, lane, lanes);
            weight = load_part<W>(query ? wq : wk, D, lane, lanes);
        }
        float sum = 0;
        UNROLL for (int i = 0; i < 8; ++i) sum += weight.v[i] * g.v[i] * v.v[i];
        sum = warp_sum(sum, lanes);
        if (!inside) continue;
        Floats<8> d = {};
        if (add) d = load_part<W>(dx + unit * D, D, lane, lanes);
        if (h < H + K) {
            const float scale = s[unit / all * (H + K) + h], u = sum * scale * scale / D;
            UNROLL for (int i = 0; i < 8; ++i) {
                d.v[i] += scale * (weight.v[i] * g.v[i] - v.v[i] * u);
                const float dw = g.v[i] * v.v[i] * scale;
                dwq.v[i] += query ? dw : 0;
                dwk.v[i] += query ? 0 : dw;
            }
        } else { // a value
            UNROLL for (int i = 0; i < 8; ++i) d.v[i] += g.v[i];
        }
        store_part<W>(dx + unit * D, d, D, lane, lanes);
    }
    store_part<W>(sums + group * 2 * D, dwq, D, lane, lanes);
    store_part<W>(sums + group * 2 * D + D, dwk, D, lane, lanes);
    __syncthreads();
    for (int d = threadIdx.x; d < 2 * D; d += 256) {
        float sum = 0;
        for (int i = 0; i < groups; ++i) sum += sums[i * 2 * D + d];
        partial[blockIdx.x * 2 * D + d] = sum;
    }
}

// out_d += sum_r partial_rd, or without add_* =, for d < D of rows 2 D wide
__global__ void __launch_bounds__(256)
    add_head_sums_kernel(float* __restrict__ dwq, bool add_q, float* __restrict__ dwk, bool add_k,
                         const float* __restrict__ partial, int rows, int D) {
    for (int d = threadIdx.x; d < 2 * D; d += 256) {
        float sum = 0;
        UNROLL_BY(4) for (int r = 0; r < rows; ++r) sum += partial[r * 2 * D + d];
        float* out = d < D ? dwq + d : dwk + d - D;
        *out = (d < D ? add_q : add_k) ? *out + sum : sum;
    }
}

// Lanes that share a head of width D.
static int group_lanes(const char* op, int64_t D) {
    CHECK(D >= 1 && D <= most_width, "%s: heads are %lld wide; this backend takes up to %d", op,
          (long long)D, most_width);
    return (int)std::bit_ceil((uint64_t)ceil_div(D, full_width));
}

template <class T>
static void head_norm_forward(Tensor y_, Tensor s_, Tensor x_, Tensor wq_, Tensor wk_, int H, int K,
                              double eps) {
    const char* op = "head_norm_forward";
    const int64_t N = x_.shape[0], D = wq_.shape[0], width = (H + 2 * K) * D;
    T* y = arg<T>(op, "y", y_, {N, width});
    float* s = arg<float>(op, "s", s_, {N, H + K});
    const T* x = arg<T>(op, "x", x_, {N, width});
    const T* wq = arg<T>(op, "wq", wq_, {D});
    const T* wk = arg<T>(op, "wk", wk_, {D});
    const int lanes = group_lanes(op, D);
    const int64_t heads = N * (H + 2 * K);
    with_width(D % full_width == 0 && is_aligned(y, x, wq, wk), [&](auto W) {
        launch(op, head_norm_forward_kernel<T, W>, (unsigned)ceil_div(heads * lanes, 256), 256, 0,
               y, s, x, wq, wk, heads, H, K, (int)D, lanes, (float)eps);
    });
}

template <class T>
static void head_norm_backward(Gradient dx_, Gradient dwq_, Gradient dwk_, Tensor s_, Tensor dy_,
                               Tensor x_, Tensor wq_, Tensor wk_, int H, int K) {
    const char* op = "head_norm_backward";
    const int64_t N = x_.shape[0], D = wq_.shape[0], width = (H + 2 * K) * D;
    T* dx = arg<T>(op, "dx", dx_.to, {N, width});
    float* dwq = arg<float>(op, "dwq", dwq_.to, {D});
    float* dwk = arg<float>(op, "dwk", dwk_.to, {D});
    const float* s = arg<float>(op, "s", s_, {N, H + K});
    const T* dy = arg<T>(op, "dy", dy_, {N, width});
    const T* x = arg<T>(op, "x", x_, {N, width});
    const T* wq = arg<T>(op, "wq", wq_, {D});
    const T* wk = arg<T>(op, "wk", wk_, {D});
    if (N == 0) return;
    const int lanes = group_lanes(op, D);
    const int64_t chunk = ceil_div(N, most_partials), chunks = ceil_div(N, chunk);
    float* partial = static_cast<float*>(scratch(chunks * 2 * D * sizeof(float)));
    with_width(D % full_width == 0 && is_aligned(dx, dy, x, wq, wk), [&](auto W) {
        launch(op, head_norm_backward_kernel<T, W>, (unsigned)chunks, 256,
               256 / lanes * 2 * D * sizeof(float), dx, partial, s, dy, x, wq, wk, N, H, K, (int)D,
               lanes, chunk, dx_.add);
    });
    launch(op, add_head_sums_kernel, 1, 256, 0, dwq, dwq_.add, dwk, dwk_.add, (const float*)partial,
           (int)chunks, (int)D);
}

template <class T> void install_head_norm(Ops& ops) {
    ops.head_norm_forward = head_norm_forward<T>;
    ops.head_norm_backward = head_norm_backward<T>;
}
template void install_head_norm<float>(Ops&);
template void install_head_norm<bf16>(Ops&);

} // namespace gpu
