// Products of a weight with few rows, as a step of decoding few sequences has them, with what stands
// before and behind the product in one launch: the norm of the input; the residual sum, SwiGLU, or rope
// and the cache. Each weight is used once, so that what counts is how many loads of them are under way.
//
// A warp multiplies 8 rows of the weight by all rows of x with mma.sync, the rows of x as its A and those
// of the weight as its B (mma.cuh). Lane (g, q) reads 16 bytes of row g from channel 32 i + 8 q on: its B
// of two products, if these take the channels of 32 i .. 32 i + 31 in the order in which they lie in the
// lanes. It reads x in the same order, so that the sums are the same. Weights are copied to shared memory
// many steps ahead, each lane's to a place of its own: nobody waits for another's.
//
// The warps of a block share out the channels, 32 each in turn, and their sums are added in order: the
// bits of a row do not depend on how many rows there are.

#include "gemm.h"
#include "mma.cuh"
#include "more_rows.h"
#include "row_products.cuh"

namespace gpu {

constexpr int most_few_rows = 16;

// 8 neighbouring elements of a row, normed: rounded as rmsnorm_forward stores them.
__device__ __forceinline__ Words scaled(Words x, Words norm, float s) {
    auto pair = [s](unsigned x2, unsigned w2) {
        return pack_halves(low_half(x2) * (s * low_half(w2)), high_half(x2) * (s * high_half(w2)));
    };
    return Words{pair(x.x, norm.x), pair(x.y, norm.y), pair(x.z, norm.z), pair(x.w, norm.w)};
}

// Steps of 32 channels whose weights are on their way.
template <int warps, int pieces> constexpr int few_rows_depth = (pieces == 1 ? 96 : 32) / warps;

// halves: groups of 8 rows of x, 1 or 2
template <int warps, int halves, bool normed, class Finish>
__global__ void __launch_bounds__(32 * warps, 16 / warps) few_rows_kernel(FewRows in, Finish out) {
    constexpr int pieces = Finish::pieces, stride = 32 * warps;
    constexpr int depth = few_rows_depth<warps, pieces>;
    constexpr int ahead = 4; // steps whose part of x is on its way
    DYN_SHARED(bf16, norm);  // (C) where the rows are normed
    Words* const weights = reinterpret_cast<Words*>(norm + (normed ? in.C : 0)) + threadIdx.x;
    __shared__ float sums[warps][pieces][2 * halves][32];
    __shared__ float row_s[8 * halves];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    const int C = in.C, N = in.N;
    // what the thread finishes: row `own` of x
    const int own = g + 8 * warp;
    const bool finishes = warp < halves && own < N;

    Words x[ahead][halves];
    AsyncCopies copies;
    auto place = [&](int step, int j) -> Words& {
        return weights[(step % depth * pieces + j) * stride];
    };
    auto fetch_weight = [&](int step, int c) { // channels from c on, of which the lane has 8
        UNROLL for (int j = 0; j < pieces; ++j) {
            const bool there = c < C;
            const int64_t at = (int64_t)(out.row(blockIdx.x, j) + g) * C + c;
            copies.copy16(&place(step, j), in.w + (there ? at : 0), there);
        }
        copies.commit();
    };
    auto fetch_x = [&](int u, int c) {
        UNROLL for (int half = 0; half < halves; ++half) {
            const int n = g + 8 * half;
            x[u][half] = Words{0, 0, 0, 0};
            if (n < N && c < C)
                x[u][half] = *reinterpret_cast<const Words*>(in.x + (int64_t)n * C + c);
        }
    };
    const int first = warp * 32 + 8 * q;
    UNROLL for (int u = 0; u < depth; ++u) fetch_weight(u, first + u * stride);
    auto early = out.read_early(blockIdx.x, finishes ? own : 0, 2 * q);
    if (normed)
        for (int c = threadIdx.x * 8; c < C; c += blockDim.x * 8)
            *reinterpret_cast<Words*>(norm + c) = *reinterpret_cast<const Words*>(in.norm + c);
    let_next_launch_begin();
    wait_for_earlier_launches();
    UNROLL for (int u = 0; u < ahead; ++u) fetch_x(u, first + u * stride);
    const auto inputs = out.read(early, blockIdx.x, finishes ? own : 0, 2 * q);

    float scale[halves] = {};
    if (normed) {
        for (int n = warp; n < N; n += warps) {
            float sum = 0;
            UNROLL_BY(4) for (int c = lane * 8; c < C; c += 256) {
                const Floats<8> v = load<8>(in.x + (int64_t)n * C + c);
                UNROLL for (int i = 0; i < 8; ++i) sum += v.v[i] * v.v[i];
            }
            sum = warp_sum(sum);
            if (lane == 0) row_s[n] = 1 / sqrtf(sum / C + in.eps);
        }
        __syncthreads();
        UNROLL for (int half = 0; half < halves; ++half) if (g + 8 * half < N) scale[half] =
            row_s[g + 8 * half];
    }

    float sum[pieces][4] = {};
    for (int step0 = 0; step0 * stride + warp * 32 < C; step0 += ahead) {
        UNROLL for (int u = 0; u < ahead; ++u) {
            const int step = step0 + u, c = first + step * stride;
            if (c - 8 * q >= C) continue; // the whole warp
            copies.wait<depth - 1>();
            Words weight[pieces];
            UNROLL for (int j = 0; j < pieces; ++j) weight[j] = place(step, j);
            Words factor = {0, 0, 0, 0};
            if (normed && c < C) factor = *reinterpret_cast<const Words*>(norm + c);
            Words rows[2] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
            UNROLL for (int half = 0; half < halves; ++half) rows[half] =
                normed ? scaled(x[u][half], factor, scale[half]) : x[u][half];
            const unsigned left[4] = {rows[0].x, rows[1].x, rows[0].y, rows[1].y};
            const unsigned right[4] = {rows[0].z, rows[1].z, rows[0].w, rows[1].w};
            UNROLL for (int j = 0; j < pieces; ++j) {
                mma16816(sum[j], left, weight[j].x, weight[j].y);
                mma16816(sum[j], right, weight[j].z, weight[j].w);
            }
            fetch_weight(step + depth, c + depth * stride);
            fetch_x(u, c + ahead * stride);
        }
    }

    // sum[j][2 half + i]: row g + 8 half of x, column 2 q + i of piece j
    UNROLL for (int j = 0; j < pieces; ++j) UNROLL for (int i = 0; i < 2 * halves; ++i)
        sums[warp][j][i][lane] = sum[j][i];
    __syncthreads();
    if (!finishes) return;
    float total[pieces][2];
    UNROLL for (int j = 0; j < pieces; ++j) UNROLL for (int i = 0; i < 2; ++i) {
        total[j][i] = 0;
        UNROLL for (int of = 0; of < warps; ++of) total[j][i] += sums[of][j][2 * warp + i][lane];
    }
    out.finish(inputs, blockIdx.x, own, 2 * q, total);
}

// ---- the ops ------------------------------------------------------------------------------------
// Up to 16 rows by the kernel above, up to 128 by that of more_rows.cu; what is too large for it, by cublasLt.

static FewRows few_rows(const char* op, Tensor x, Tensor norm, const Weight& w, double eps) {
    const int64_t N = x.shape[0], C = x.shape[1], O = w.w.shape[0];
    const FewRows in = {arg<bf16>(op, "x", x, {N, C}),
                        arg<bf16>(op, "w", w.w, {O, C}),
                        optional_arg<bf16>(op, "norm", norm, {C}),
                        (int)N,
                        (int)C,
                        (float)eps};
    CHECK(N <= most_more_rows && C % 8 == 0 && O % 8 == 0 && is_aligned(in.x, in.w, in.norm),
          "%s: x is %s, w is %s; there may be %d rows, and rows are whole pieces of 8", op,
          shape_text(x).c_str(), shape_text(w.w).c_str(), most_more_rows);
    return in;
}

template <int warps, bool normed, class Finish>
static void run(const char* op, int64_t units, const FewRows& in, const Finish& finish) {
    if (in.N == 0) return;
    constexpr int pieces = Finish::pieces;
    const size_t shared = (normed ? in.C * sizeof(bf16) : 0) +
                          few_rows_depth<warps, pieces> * pieces * 32 * warps * sizeof(Words);
    if (in.N <= 8)
        launch_overlapped(op, few_rows_kernel<warps, 1, normed, Finish>, (unsigned)units,
                          32 * warps, shared, in, finish);
    else
        launch_overlapped(op, few_rows_kernel<warps, 2, normed, Finish>, (unsigned)units,
                          32 * warps, shared, in, finish);
}

// norm(x) in scratch, of which `after` more bytes follow it.
static Tensor normed_rows(Tensor x, Tensor norm, double eps, size_t after = 0) {
    const int64_t N = x.shape[0], C = x.shape[1];
    const size_t bytes = N * C * sizeof(bf16);
    char* memory = static_cast<char*>(scratch(bytes + after + N * sizeof(float)));
    const Tensor y(memory, DType::bf16, {N, C}), s(memory + bytes + after, DType::f32, {N});
    gpu_ops(DType::bf16).rmsnorm_forward(y, s, x, norm, eps);
    return y;
}

static void norm_linear(Tensor y_, Tensor x, Tensor norm, const Weight& w, double eps) {
    const char* op = "norm_linear";
    const FewRows in = few_rows(op, x, norm, w, eps);
    const int64_t O = w.w.shape[0];
    const StoreProduct finish = {arg<bf16>(op, "y", y_, {x.shape[0], O}), (int)O};
    if (in.N <= most_few_rows) return run<4, true>(op, ceil_div(O, 16), in, finish);
    gpu_ops(DType::bf16).linear_forward(y_, normed_rows(x, norm, eps), w, {});
}

static void norm_qkv(Tensor qkv, KvCache& cache, Tensor x, Tensor norm, const Weight& w,
                     Tensor bias, Tensor position, Tensor table, Tensor slot, int H, int K,
                     double eps) {
    const char* op = "norm_qkv";
    const FewRows in = few_rows(op, x, norm, w, eps);
    const int64_t N = x.shape[0], D = cache.k.shape[3], width = (H + 2 * K) * D;
    check_cache<bf16>(op, cache, K);
    CHECK(D % 16 == 0 && w.w.shape[0] == width, "%s: w is %s, for %d + 2 x %d heads of %lld", op,
          shape_text(w.w).c_str(), H, K, (long long)D);
    const StoreQkv finish = {arg<bf16>(op, "qkv", qkv, {N, width}),
                             (bf16*)cache.k.data,
                             (bf16*)cache.v.data,
                             optional_arg<bf16>(op, "bias", bias, {width}),
                             arg<int>(op, "position", position, {N}),
                             arg<int>(op, "slot", slot, {N}),
                             arg<float>(op, "table", table, {table.shape[0], D}),
                             H,
                             K,
                             (int)D};
    if (in.N <= most_few_rows) return run<8, true>(op, width / 16, in, finish);
    if (more_rows_qkv(op, in, width / 16, finish)) return;
    const Ops& ops = gpu_ops(DType::bf16);
    ops.linear_forward(qkv, normed_rows(x, norm, eps), w, bias);
    ops.rope_write(cache, qkv, position, table, slot, H, K);
}

static void norm_swiglu(Tensor y_, Tensor x, Tensor norm, const Weight& w, double eps) {
    const char* op = "norm_swiglu";
    const FewRows in = few_rows(op, x, norm, w, eps);
    const int64_t N = x.shape[0], F = w.w.shape[0] / 2;
    const StoreSwiglu finish = {arg<bf16>(op, "y", y_, {N, F}), (int)F};
    if (in.N <= most_few_rows) return run<4, true>(op, F / 8, in, finish);
    if (more_rows_swiglu(op, in, F / 8, finish)) return;
    const Ops& ops = gpu_ops(DType::bf16);
    const Tensor y = normed_rows(x, norm, eps, N * 2 * F * sizeof(bf16));
    const Tensor gate_up((char*)y.data + y.bytes(), DType::bf16, {N, 2 * F});
    ops.linear_forward(gate_up, y, w, {});
    ops.swiglu_forward(y_, gate_up);
}

static void linear_residual(Tensor z_, Tensor x_, Tensor y, const Weight& w) {
    const char* op = "linear_residual";
    const FewRows in = few_rows(op, y, {}, w, 0);
    const int64_t N = y.shape[0], O = w.w.shape[0];
    bf16 *z = arg<bf16>(op, "z", z_, {N, O}), *x = arg<bf16>(op, "x", x_, {N, O});
    if (in.N <= most_few_rows)
        run<8, false>(op, O / 8, in, AddProduct{z, x, (int)O});
    else if (O <= widest_more_rows)
        more_rows_residual(op, z, x, in, O);
    else
        multiply(op, {.c = {z, DType::bf16, O},
                      .a = {in.w, DType::bf16, in.C},
                      .b = {in.x, DType::bf16, in.C},
                      .m = O,
                      .n = N,
                      .k = in.C,
                      .a_transposed = true,
                      .add = true,
                      .addend = x});
}

template <class T> void install_few_rows(Ops& ops) {
    if constexpr (std::is_same_v<T, bf16>) {
        // Up to most_more_rows are right on the stand-in, but have not been timed against cublasLt on a card.
        ops.few_rows = most_few_rows;
        ops.norm_linear = norm_linear;
        ops.norm_qkv = norm_qkv;
        ops.norm_swiglu = norm_swiglu;
        ops.linear_residual = linear_residual;
    }
}
template void install_few_rows<float>(Ops&);
template void install_few_rows<bf16>(Ops&);

} // namespace gpu
