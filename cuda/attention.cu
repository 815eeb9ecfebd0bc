// Attention over a ragged batch: the choice between tiles (bf16, heads of up to 128 channels in whole
// 16-byte pieces) and rows (everything else up to 256). Backward sums dq per query and dk, dv per key, each
// in one block and in one order: no atomics.

#include "attention_rows.cuh"
#include "attention_tiles.cuh"

namespace gpu {

// delta = <dy, y> of every row and head: a warp each.
template <class T>
__global__ void __launch_bounds__(128)
    attention_delta_kernel(float* __restrict__ delta, const T* __restrict__ dy,
                           const T* __restrict__ y, int64_t rows, int D) {
    const int64_t row = (int64_t)blockIdx.x * 4 + threadIdx.x / 32;
    if (row >= rows) return;
    float sum = 0;
    for (int d = threadIdx.x % 32; d < D; d += 32)
        sum += to_float(dy[row * D + d]) * to_float(y[row * D + d]);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) delta[row] = sum;
}

// The head width, after the checks that both directions share.
static int head_width(const char* op, const Tensor& qkv, int H, int K) {
    CHECK(K > 0 && H > 0 && H % K == 0, "%s: %d query heads are no multiple of %d key heads", op, H,
          K);
    const int64_t width = qkv.shape[1];
    CHECK(qkv.rank == 2 && width > 0 && width % (H + 2 * K) == 0,
          "%s: qkv is %s, wanted %d heads side by side", op, shape_text(qkv).c_str(), H + 2 * K);
    const int64_t D = width / (H + 2 * K);
    CHECK(D <= widest_head, "%s: heads are %lld wide; this backend takes up to %d", op,
          (long long)D, widest_head);
    CHECK(H <= 65535, "%s: %d heads; at most 65535", op, H);
    return (int)D;
}

template <class T>
static void attention_forward(Tensor y_, Tensor lse_, Tensor qkv_, const Ragged& ragged_, int H,
                              int K, double scale) {
    const char* op = "attention_forward";
    const int64_t N = qkv_.shape[0];
    const int D = head_width(op, qkv_, H, K);
    T* y = arg<T>(op, "y", y_, {N, H * D});
    float* lse = arg<float>(op, "lse", lse_, {N, H});
    const T* qkv = arg<T>(op, "qkv", qkv_, {N, (H + 2 * K) * D});
    const RaggedView ragged = ragged_view(op, ragged_);
    const bool tiles = with_tiles<T>(
        D,
        [&](auto width) {
            if constexpr (std::is_same_v<T, bf16>) {
                const size_t shared = 5 * tile_size<width, tile_rows> * sizeof(bf16);
                launch(op, attention_forward_tiles_kernel<width>,
                       dim3(tile_count(N, tile_rows, ragged.sequences), (unsigned)H), tile_threads,
                       shared, y, lse, qkv, AttentionShape{ragged, H, K, D, (float)scale});
            }
        },
        y, qkv);
    if (!tiles)
        launch(op, attention_forward_rows_kernel<T>,
               dim3((unsigned)ceil_div(N, row_warps), (unsigned)H), 32 * row_warps, 0, y, lse, qkv,
               ragged, (int)N, H, K, D, (float)scale);
}

template <class T>
static void attention_backward(Tensor dqkv_, Tensor dy_, Tensor y_, Tensor lse_, Tensor qkv_,
                               const Ragged& ragged_, int H, int K, double scale) {
    const char* op = "attention_backward";
    const int64_t N = qkv_.shape[0];
    const int D = head_width(op, qkv_, H, K);
    T* dqkv = arg<T>(op, "dqkv", dqkv_, {N, (H + 2 * K) * D});
    const T* dy = arg<T>(op, "dy", dy_, {N, H * D});
    const T* y = arg<T>(op, "y", y_, {N, H * D});
    const float* lse = arg<float>(op, "lse", lse_, {N, H});
    const T* qkv = arg<T>(op, "qkv", qkv_, {N, (H + 2 * K) * D});
    const RaggedView ragged = ragged_view(op, ragged_);
    float* delta = static_cast<float*>(scratch(N * H * sizeof(float)));
    launch(op, attention_delta_kernel<T>, (unsigned)ceil_div(N * H, 4), 128, 0, delta, dy, y, N * H,
           D);
    const bool tiles = with_tiles<T>(
        D,
        [&](auto width) {
            if constexpr (std::is_same_v<T, bf16>) {
                constexpr int passing = passing_rows<width>;
                const AttentionShape shape = {ragged, H, K, D, (float)scale};
                const unsigned count = tile_count(N, tile_rows, ragged.sequences);
                const size_t shared =
                    (2 * tile_size<width, tile_rows> + 4 * tile_size<width, passing>)*sizeof(bf16);
                launch(op, attention_dq_tiles_kernel<width>, dim3(count, (unsigned)H), tile_threads,
                       shared, dqkv, dy, delta, lse, qkv, shape);
                launch(op, attention_dkv_tiles_kernel<width>, dim3(count, (unsigned)K),
                       tile_threads, shared, dqkv, dy, delta, lse, qkv, shape);
            }
        },
        dqkv, dy, qkv);
    if (tiles) return;
    const unsigned blocks = (unsigned)ceil_div(N, row_warps);
    launch(op, attention_dq_rows_kernel<T>, dim3(blocks, (unsigned)H), 32 * row_warps, 0, dqkv, dy,
           delta, lse, qkv, ragged, (int)N, H, K, D, (float)scale);
    launch(op, attention_dkv_rows_kernel<T>, dim3(blocks, (unsigned)K), 32 * row_warps, 0, dqkv, dy,
           delta, lse, qkv, ragged, (int)N, H, K, D, (float)scale);
}

template <class T> void install_attention(Ops& ops) {
    ops.attention_forward = attention_forward<T>;
    ops.attention_backward = attention_backward<T>;
}
template void install_attention<float>(Ops&);
template void install_attention<bf16>(Ops&);

} // namespace gpu
