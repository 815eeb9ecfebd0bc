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

#include "cache.cuh"
#include "mma.cuh"

namespace gpu {

constexpr int most_few_rows = 16;

// x (N, C), normed by `norm` (C) where a kernel says so, and w (.., C).
struct FewRows {
    const bf16* x;
    const bf16* w;
    const bf16* norm;
    int N, C;
    float eps;
};

// What a block makes of its products, a struct per kernel: the first row of the weight of its two (or one)
// pieces of 8 rows, and for row n of x and columns c, c + 1 of each piece what there is to read before the
// launches before this one have ended, after that, and to do with the sums.
struct Nothing {};

// y = w x
struct StoreProduct {
    static constexpr int pieces = 2;
    bf16* y;
    int O;
    __device__ __forceinline__ int row(int block, int piece) const {
        return min(block * 16 + piece * 8, O - 8);
    }
    __device__ __forceinline__ Nothing read_early(int, int, int) const { return {}; }
    __device__ __forceinline__ Nothing read(Nothing, int, int, int) const { return {}; }
    __device__ __forceinline__ void finish(Nothing, int block, int n, int c,
                                           const float (&sum)[2][2]) const {
        UNROLL for (int j = 0; j < 2; ++j) {
            const int o = block * 16 + j * 8 + c;
            if (o < O)
                *reinterpret_cast<Word*>(y + (int64_t)n * O + o) =
                    pack_halves(sum[j][0], sum[j][1]);
        }
    }
};

// z = x + w y, the product rounded before the sum as where it is stored
struct AddProduct {
    static constexpr int pieces = 1;
    bf16* z;
    const bf16* x;
    int O;
    __device__ __forceinline__ int row(int block, int) const { return block * 8; }
    __device__ __forceinline__ Nothing read_early(int, int, int) const { return {}; }
    __device__ __forceinline__ unsigned read(Nothing, int block, int n, int c) const {
        return *reinterpret_cast<const Word*>(x + (int64_t)n * O + block * 8 + c);
    }
    __device__ __forceinline__ void finish(unsigned given, int block, int n, int c,
                                           const float (&sum)[1][2]) const {
        const unsigned product = pack_halves(sum[0][0], sum[0][1]);
        *reinterpret_cast<Word*>(z + (int64_t)n * O + block * 8 + c) =
            pack_halves(low_half(given) + low_half(product), high_half(given) + high_half(product));
    }
};

// y = silu(gate) up: rows f and F + f of the weight
struct StoreSwiglu {
    static constexpr int pieces = 2;
    bf16* y;
    int F;
    __device__ __forceinline__ int row(int block, int piece) const { return piece * F + block * 8; }
    __device__ __forceinline__ Nothing read_early(int, int, int) const { return {}; }
    __device__ __forceinline__ Nothing read(Nothing, int, int, int) const { return {}; }
    __device__ __forceinline__ void finish(Nothing, int block, int n, int c,
                                           const float (&sum)[2][2]) const {
        float out[2];
        UNROLL for (int i = 0; i < 2; ++i) {
            const float g = to_float(from_float<bf16>(sum[0][i]));
            const float u = to_float(from_float<bf16>(sum[1][i]));
            out[i] = g * sigmoid(g) * u;
        }
        *reinterpret_cast<Word*>(y + (int64_t)n * F + block * 8 + c) = pack_halves(out[0], out[1]);
    }
};

// Queries, turned, to qkv; keys, turned, and values to the cache: channels i and D/2 + i of a head
struct StoreQkv {
    static constexpr int pieces = 2;
    bf16 *qkv, *keys, *values;
    const bf16* bias; // or null
    const int *position, *slot;
    const float* table;
    int H, K, D;
    __device__ __forceinline__ int row(int block, int piece) const {
        const int per_head = D / 16;
        return block / per_head * D + block % per_head * 8 + piece * (D / 2);
    }
    struct Inputs {
        int slot;
        float bias[2][2], cosine[2], sine[2];
    };
    __device__ __forceinline__ Inputs read_early(int block, int n, int c) const {
        const int first = row(block, 0) + c, head = first / D, i = first % D;
        Inputs in = {slot[n], {}, {1, 1}, {}};
        UNROLL for (int k = 0; k < 2; ++k) {
            if (bias)
                UNROLL for (int j = 0; j < 2; ++j) in.bias[j][k] =
                    to_float(bias[first + j * (D / 2) + k]);
            if (head >= H + K) continue;
            const float* angle = table + (int64_t)position[n] * D + i + k;
            in.cosine[k] = angle[0], in.sine[k] = angle[D / 2];
        }
        return in;
    }
    __device__ __forceinline__ Inputs read(const Inputs& in, int, int, int) const { return in; }
    __device__ __forceinline__ void finish(const Inputs& in, int block, int n, int c,
                                           const float (&sum)[2][2]) const {
        const int first = row(block, 0) + c, head = first / D, i = first % D;
        float low[2], high[2];
        UNROLL for (int k = 0; k < 2;
                    ++k) { // rounded before they are turned, as where they are stored
            const float x = to_float(from_float<bf16>(sum[0][k] + in.bias[0][k]));
            const float y = to_float(from_float<bf16>(sum[1][k] + in.bias[1][k]));
            low[k] = x * in.cosine[k] - y * in.sine[k];
            high[k] = y * in.cosine[k] + x * in.sine[k];
        }
        bf16* to = qkv + ((int64_t)n * (H + 2 * K) + head) * D;
        if (head >= H) {
            if (in.slot < 0) return;
            to = head < H + K ? keys + cache_row(in.slot, head - H, K, D)
                              : values + cache_row(in.slot, head - H - K, K, D);
        }
        *reinterpret_cast<Word*>(to + i) = pack_halves(low[0], low[1]);
        *reinterpret_cast<Word*>(to + i + D / 2) = pack_halves(high[0], high[1]);
    }
};

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

static FewRows few_rows(const char* op, Tensor x, Tensor norm, const Weight& w, double eps) {
    const int64_t N = x.shape[0], C = x.shape[1], O = w.w.shape[0];
    const FewRows in = {arg<bf16>(op, "x", x, {N, C}),
                        arg<bf16>(op, "w", w.w, {O, C}),
                        optional_arg<bf16>(op, "norm", norm, {C}),
                        (int)N,
                        (int)C,
                        (float)eps};
    CHECK(N <= most_few_rows && C % 8 == 0 && O % 8 == 0 && is_aligned(in.x, in.w, in.norm),
          "%s: x is %s, w is %s; there may be %d rows, and rows are whole pieces of 8", op,
          shape_text(x).c_str(), shape_text(w.w).c_str(), most_few_rows);
    return in;
}

template <int warps, bool normed, class Finish>
static void run(const char* op, int64_t blocks, const FewRows& in, const Finish& finish) {
    if (in.N == 0) return;
    constexpr int pieces = Finish::pieces;
    const size_t shared = (normed ? in.C * sizeof(bf16) : 0) +
                          few_rows_depth<warps, pieces> * pieces * 32 * warps * sizeof(Words);
    if (in.N <= 8)
        launch_overlapped(op, few_rows_kernel<warps, 1, normed, Finish>, (unsigned)blocks,
                          32 * warps, shared, in, finish);
    else
        launch_overlapped(op, few_rows_kernel<warps, 2, normed, Finish>, (unsigned)blocks,
                          32 * warps, shared, in, finish);
}

static void norm_linear(Tensor y_, Tensor x, Tensor norm, const Weight& w, double eps) {
    const char* op = "norm_linear";
    const FewRows in = few_rows(op, x, norm, w, eps);
    const int64_t O = w.w.shape[0];
    run<4, true>(op, ceil_div(O, 16), in,
                 StoreProduct{arg<bf16>(op, "y", y_, {x.shape[0], O}), (int)O});
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
    run<8, true>(op, width / 16, in,
                 StoreQkv{arg<bf16>(op, "qkv", qkv, {N, width}), (bf16*)cache.k.data,
                          (bf16*)cache.v.data, optional_arg<bf16>(op, "bias", bias, {width}),
                          arg<int>(op, "position", position, {N}), arg<int>(op, "slot", slot, {N}),
                          arg<float>(op, "table", table, {table.shape[0], D}), H, K, (int)D});
}

static void norm_swiglu(Tensor y_, Tensor x, Tensor norm, const Weight& w, double eps) {
    const char* op = "norm_swiglu";
    const FewRows in = few_rows(op, x, norm, w, eps);
    const int64_t F = w.w.shape[0] / 2;
    run<4, true>(op, F / 8, in, StoreSwiglu{arg<bf16>(op, "y", y_, {x.shape[0], F}), (int)F});
}

static void linear_residual(Tensor z, Tensor x, Tensor y, const Weight& w) {
    const char* op = "linear_residual";
    const FewRows in = few_rows(op, y, {}, w, 0);
    const int64_t N = y.shape[0], O = w.w.shape[0];
    run<8, false>(op, O / 8, in,
                  AddProduct{arg<bf16>(op, "z", z, {N, O}), arg<bf16>(op, "x", x, {N, O}), (int)O});
}

template <class T> void install_few_rows(Ops& ops) {
    if constexpr (std::is_same_v<T, bf16>) {
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
