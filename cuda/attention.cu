// Attention over a ragged batch, forward and backward; ops.h has the formula, src/ops/attention_formula.h the
// plain loops. Query row i of a head, over the tiles of keys as they pass [Dao 2023, algorithm 1]:
//
//   m_i = max_j S_ij so far    l_i = sum_j exp(S_ij - m_i)    y_i = sum_j exp(S_ij - m_i) v_j
//   a tile that raises m_i from m_before rescales l_i and y_i by exp(m_before - m_i)
//   in the end  y_i /= l_i,  lse_i = m_i + log l_i
//
// Backward, with P made anew from lse [algorithm 2]: delta_i = <dy_i, y_i> beforehand, then per tile
//
//   P_ij = exp(S_ij - lse_i)    dP_ij = <dy_i, v_j>    dS_ij = P_ij (dP_ij - delta_i)
//   dq_i += scale sum_j dS_ij k_j    dk_j += scale sum_i dS_ij q_i    dv_j += sum_i P_ij dy_i
//
// dq is summed per tile of queries, dk and dv per tile of keys, each in one block and one order: no atomics.
// Tiles (bf16, heads of up to 128 channels in whole 16-byte pieces) are attention_tiles.cuh's, everything else goes row
// by row with attention_rows.cuh.

#include "attention_rows.cuh"
#include "attention_tiles.cuh"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <mutex>
#include <vector>

namespace gpu {

// The head width, after the checks that both directions share.
static int head_width(const char* op, const Tensor& qkv, int H, int K, double scale) {
    CHECK(scale > 0, "%s: the scale is %g; it must be positive", op, scale);
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

// ---- which form of the tiles --------------------------------------------------------------------

// Results of a small random batch of heads of D channels, by one form.
struct FormResults {
    std::vector<bf16> y, dqkv;
    std::vector<float> lse;
};
template <int D, bool hopper> static FormResults form_results() {
    const char* op = "the check of attention's two forms";
    std::vector<std::unique_ptr<void, cudaError_t (*)(void*)>> memory;
    auto take = [&](size_t bytes) {
        void* p = nullptr;
        check_cuda(cudaMalloc(&p, bytes), op);
        memory.emplace_back(p, cudaFree);
        return p;
    };
    auto upload = [&]<class T>(const std::vector<T>& x) {
        T* p = static_cast<T*>(take(x.size() * sizeof(T)));
        check_cuda(cudaMemcpy(p, x.data(), x.size() * sizeof(T), cudaMemcpyHostToDevice), op);
        return p;
    };
    auto download = [&]<class T>(std::vector<T>& x, const T* p) {
        check_cuda(cudaMemcpy(x.data(), p, x.size() * sizeof(T), cudaMemcpyDeviceToHost), op);
    };
    unsigned state = 1;
    auto random = [&](size_t count) {
        std::vector<bf16> x(count);
        for (bf16& value : x) {
            state = state * 1664525u + 1013904223u;
            value = __float2bfloat16(((int)(state >> 8) - (1 << 23)) * (1.7f / (1 << 23)));
        }
        return x;
    };
    // More rows than a tile, a sequence that continues it, and a prefix.
    constexpr int H = 2, K = 1, N = 260;
    const RaggedView ragged = {upload(std::vector{0, 150, 190, N}), upload(std::vector{0, 0, 20}),
                               upload(std::vector{-1, 0, -1}), 3};
    const AttentionShape shape = {ragged, H, K, D, 1 / sqrtf(D)};
    FormResults out = {std::vector<bf16>(N * H * D), std::vector<bf16>(N * (H + 2 * K) * D),
                       std::vector<float>(N * H)};
    const bf16 *qkv = upload(random(out.dqkv.size())), *dy = upload(random(out.y.size()));
    bf16 *y = upload(out.y), *dqkv = upload(out.dqkv);
    float* lse = upload(out.lse);
    check_cuda(cudaDeviceSynchronize(), op); // the copies, which are on no stream of ours
    forward_tiles<D, hopper>(op, y, lse, qkv, N, shape);
    backward_tiles<D, hopper>(op, dqkv, false, dy, y, lse, qkv, N, shape);
    check_cuda(cudaStreamSynchronize(context().stream), op);
    download(out.y, y), download(out.dqkv, dqkv), download(out.lse, lse);
    return out;
}

// |a - b| relative to |b|
template <class T> static double difference(const std::vector<T>& a, const std::vector<T>& b) {
    double between = 0, all = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        const double x = (float)a[i], y = (float)b[i]; // to_float is the device's
        between += (x - y) * (x - y), all += y * y;
    }
    return std::sqrt(between / all);
}

// Whether wgmma is there and right: the first call for a head width lets both forms do a small batch. ptxas has
// been seen to overwrite registers that a wgmma in a loop still needed (nvcc 13.0), which shows at once.
template <int D> static bool hopper_is_right() {
    int major = 0;
    check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, context().device),
               "compute capability");
    if (major != 9) return false;
    static std::mutex lock;
    static int right = -1; // not known
    std::lock_guard guard(lock);
    if (right < 0) {
        if (context().recording) return false; // no place for a check
        const FormResults want = form_results<D, false>(), got = form_results<D, true>();
        const double worst = std::max({difference(got.y, want.y), difference(got.dqkv, want.dqkv),
                                       1000 * difference(got.lse, want.lse)});
        right = worst <= 0.01; // two roundings to bf16 differ by 0.004; false for NaN
        if (!right)
            fprintf(stderr,
                    "attention: for heads of %d channels wgmma is off by %.2g of the result; "
                    "mma.sync is used, which is slower\n",
                    D, worst);
    }
    return right;
}

template <class T>
static void attention_forward(Tensor y_, Tensor lse_, Tensor qkv_, const Ragged& ragged_, int H,
                              int K, double scale) {
    const char* op = "attention_forward";
    const int64_t N = qkv_.shape[0];
    const int D = head_width(op, qkv_, H, K, scale);
    T* y = arg<T>(op, "y", y_, {N, H * D});
    float* lse = arg<float>(op, "lse", lse_, {N, H});
    const T* qkv = arg<T>(op, "qkv", qkv_, {N, (H + 2 * K) * D});
    const RaggedView ragged = ragged_view(op, ragged_);
    const bool tiles = with_tiles<T>(
        D,
        [&](auto width) {
            if constexpr (std::is_same_v<T, bf16>) {
                auto* form = hopper_is_right<width>() ? forward_tiles<width, true>
                                                      : forward_tiles<width, false>;
                form(op, y, lse, qkv, N, {ragged, H, K, D, (float)scale});
            }
        },
        y, qkv);
    if (!tiles)
        launch(op, attention_forward_rows_kernel<T>,
               dim3((unsigned)ceil_div(N, row_warps), (unsigned)H), 32 * row_warps, 0, y, lse, qkv,
               ragged, (int)N, H, K, D, (float)scale);
}

template <class T>
static void attention_backward(Gradient dqkv_, Tensor dy_, Tensor y_, Tensor lse_, Tensor qkv_,
                               const Ragged& ragged_, int H, int K, double scale) {
    const char* op = "attention_backward";
    const int64_t N = qkv_.shape[0];
    const int D = head_width(op, qkv_, H, K, scale);
    T* dqkv = arg<T>(op, "dqkv", dqkv_.to, {N, (H + 2 * K) * D});
    const T* dy = arg<T>(op, "dy", dy_, {N, H * D});
    const T* y = arg<T>(op, "y", y_, {N, H * D});
    const float* lse = arg<float>(op, "lse", lse_, {N, H});
    const T* qkv = arg<T>(op, "qkv", qkv_, {N, (H + 2 * K) * D});
    const RaggedView ragged = ragged_view(op, ragged_);
    const bool tiles = with_tiles<T>(
        D,
        [&](auto width) {
            if constexpr (std::is_same_v<T, bf16>) {
                auto* form = hopper_is_right<width>() ? backward_tiles<width, true>
                                                      : backward_tiles<width, false>;
                form(op, dqkv, dqkv_.add, dy, y, lse, qkv, N, {ragged, H, K, D, (float)scale});
            }
        },
        dqkv, dy, y, qkv);
    if (tiles) return;
    if (!dqkv_.add) check_cuda(cudaMemsetAsync(dqkv, 0, dqkv_.to.bytes(), context().stream), op);
    float* delta = static_cast<float*>(scratch(N * H * sizeof(float)));
    launch(op, attention_delta_kernel<T>, (unsigned)ceil_div(N * H, 4), 128, 0, delta, dy, y, N * H,
           D);
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
