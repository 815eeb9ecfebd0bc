// Products of a weight with 17 to 128 rows, with what stands before and behind the product in one launch, as
// in skinny.cu. Here x is as many bytes as the weight or more, and every block reads all of it: so a block
// takes as many rows of the weight as give each multiprocessor one block. It reads its part of the weight
// once, to shared memory, most of it before the launches before this one have ended.
//
// A warp multiplies 32 rows of x by all of the block's rows of the weight; the warps share out the rows of x
// first, then the channels, 32 each in turn. Lanes hold channels in the order of skinny.cu, so that a lane
// reads 16 bytes at a time: of x from global memory to registers, which no other warp wants, of the weight
// from shared memory.
//
// The norm of a row is a factor of all its products: x is multiplied by the norm's weight, rounded, and the
// sums by 1 / rms, which the warps find out while x passes by.

#include "mma.cuh"
#include "more_rows.h"

#include <algorithm>

namespace gpu {

constexpr int more_rows_warps = 8, more_rows_threads = 32 * more_rows_warps;

// Two bf16, each product rounded once.
__device__ __forceinline__ unsigned multiply_halves(unsigned a, unsigned b) {
#ifdef __CUDACC__
    const __nv_bfloat162 c = __hmul2(reinterpret_cast<const __nv_bfloat162&>(a),
                                     reinterpret_cast<const __nv_bfloat162&>(b));
    return reinterpret_cast<const unsigned&>(c);
#else
    return pack_halves(low_half(a) * low_half(b), high_half(a) * high_half(b));
#endif
}
__device__ __forceinline__ Words multiply_halves(Words a, Words b) {
    return {multiply_halves(a.x, b.x), multiply_halves(a.y, b.y), multiply_halves(a.z, b.z),
            multiply_halves(a.w, b.w)};
}
__device__ __forceinline__ float sum_of_squares(Words words) {
    auto pair = [](unsigned w) { return low_half(w) * low_half(w) + high_half(w) * high_half(w); };
    return (pair(words.x) + pair(words.y)) + (pair(words.z) + pair(words.w));
}

// How a block's 8 warps share out the work, and what of the weight is on its way. A step: 32 channels of
// each slice. U: units of 16 rows of the weight; R: groups of 32 rows of x
template <int U, int R> struct MoreRows {
    static constexpr int slices = more_rows_warps / R;        // of the channels of a step
    static constexpr int depth = (U <= 2 ? 32 : 16) / slices; // steps on their way
    static constexpr int stage = 2 * U * slices * 32;         // 16-byte pieces of a step
    static constexpr int copies = (stage + more_rows_threads - 1) / more_rows_threads;
    static constexpr int x_ahead = U <= 4 ? 4 : 3; // steps whose part of x is on its way
    // weights, in whose place the sums of the slices lie at the end
    static constexpr size_t shared =
        std::max<size_t>(depth * stage * sizeof(Words),
                         (size_t)more_rows_warps * 2 * 2 * U * 4 * 32 * sizeof(float));
};

// Block: units blockIdx.x U and on, rows blockIdx.y 32 R and on, channels blockIdx.z chunk and on
template <int U, int R, bool normed, class Finish>
__global__ void __launch_bounds__(more_rows_threads, 1)
    more_rows_kernel(FewRows in, Finish out, int units, int chunk) {
    using Plan = MoreRows<U, R>;
    constexpr int slices = Plan::slices, depth = Plan::depth, ahead = Plan::x_ahead;
    static_assert(Finish::pieces == 2);
    DYN_SHARED(Words, weights);
    float* const sums = reinterpret_cast<float*>(weights);
    bf16* const norm = reinterpret_cast<bf16*>(weights) + Plan::shared / sizeof(bf16); // (C)
    __shared__ float squares[slices][32 * R];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    const int group = warp % R, slice = warp / R, first_row = (blockIdx.y * R + group) * 32;
    const int first_unit = blockIdx.x * U;
    const int begin = blockIdx.z * chunk, end = min(in.C, begin + chunk);
    const int steps = (end - begin + 32 * slices - 1) / (32 * slices);

    // The thread's pieces of a step: piece i is of row i / (32 slices) .. and channels 8 (i % 4) and on.
    AsyncCopies copies;
    int from[Plan::copies]; // where the row begins, or -1
    UNROLL for (int k = 0; k < Plan::copies; ++k) {
        const int i = k * more_rows_threads + threadIdx.x;
        const int piece = i / (32 * slices), unit = first_unit + piece / 2;
        const bool there = piece < 2 * U && unit < units;
        from[k] = there ? (out.row(unit, piece % 2) + i % 32 / 4) * in.C : -1;
    }
    const int c_copied = begin + threadIdx.x / 32 % slices * 32 + threadIdx.x % 4 * 8;
    auto fetch_weights = [&](int step) {
        const int c = c_copied + step * slices * 32;
        Words* to = weights + step % depth * Plan::stage + threadIdx.x;
        UNROLL for (int k = 0; k < Plan::copies; ++k) {
            const bool there = from[k] >= 0 && c < end;
            if (k * more_rows_threads + (int)threadIdx.x < Plan::stage)
                copies.copy16(to + k * more_rows_threads, in.w + (there ? from[k] + c : 0), there);
        }
        copies.commit();
    };
    // rows 16 m + 8 half + g of the warp's
    Words x[ahead][2][2];
    auto fetch_x = [&](int u, int step) {
        const int c = begin + (step * slices + slice) * 32 + 8 * q;
        UNROLL for (int m = 0; m < 2; ++m) UNROLL for (int half = 0; half < 2; ++half) {
            const int n = first_row + 16 * m + 8 * half + g;
            x[u][m][half] = Words{0, 0, 0, 0};
            if (n < in.N && c < end)
                x[u][m][half] = *reinterpret_cast<const Words*>(in.x + (n * in.C + c));
        }
    };

    UNROLL_BY(1) for (int step = 0; step < depth - 1; ++step) fetch_weights(step);
    if (normed)
        for (int c = threadIdx.x * 8; c < in.C; c += more_rows_threads * 8)
            *reinterpret_cast<Words*>(norm + c) = *reinterpret_cast<const Words*>(in.norm + c);
    let_next_launch_begin();
    wait_for_earlier_launches();
    UNROLL for (int u = 0; u < ahead; ++u) fetch_x(u, u);

    float sum[2][2 * U][4] = {}, square[2][2] = {};
    for (int step0 = 0; step0 < steps; step0 += ahead) {
        UNROLL for (int u = 0; u < ahead; ++u) {
            const int step = step0 + u, c = begin + (step * slices + slice) * 32 + 8 * q;
            if (step >= steps) break;
            copies.wait<depth - 2>();
            __syncthreads(); // the step's weights are there; those of the step before are done with
            fetch_weights(step + depth - 1);
            Words factor = {0, 0, 0, 0};
            if (normed && c < end) factor = *reinterpret_cast<const Words*>(norm + c);
            unsigned left[2][4], right[2][4]; // of two products
            UNROLL for (int m = 0; m < 2; ++m) {
                Words rows[2] = {x[u][m][0], x[u][m][1]};
                if (normed) UNROLL for (int half = 0; half < 2; ++half) {
                        square[m][half] += sum_of_squares(rows[half]);
                        rows[half] = multiply_halves(rows[half], factor);
                    }
                left[m][0] = rows[0].x, left[m][1] = rows[1].x;
                left[m][2] = rows[0].y, left[m][3] = rows[1].y;
                right[m][0] = rows[0].z, right[m][1] = rows[1].z;
                right[m][2] = rows[0].w, right[m][3] = rows[1].w;
            }
            fetch_x(u, step + ahead);
            const Words* const of_step = weights + step % depth * Plan::stage + slice * 32 + lane;
            UNROLL for (int j = 0; j < 2 * U; ++j) {
                const Words w = of_step[j * slices * 32];
                UNROLL for (int m = 0; m < 2; ++m) {
                    mma16816(sum[m][j], left[m], w.x, w.y);
                    mma16816(sum[m][j], right[m], w.z, w.w);
                }
            }
        }
    }

    // The slices' sums come together: sum[m][j][2 half + i] is of row 16 m + 8 half + g, column 2 q + i of piece j.
    copies.wait<0>();
    __syncthreads();
    auto place = [&](int s, int of_group, int m, int j, int i) {
        return ((((s * R + of_group) * 2 + m) * 2 * U + j) * 4 + i) * 32;
    };
    UNROLL for (int m = 0; m < 2; ++m) UNROLL for (int j = 0; j < 2 * U; ++j)
        UNROLL for (int i = 0; i < 4; ++i) sums[place(slice, group, m, j, i) + lane] = sum[m][j][i];
    if (normed) UNROLL for (int m = 0; m < 2; ++m) UNROLL for (int half = 0; half < 2; ++half) {
            float all = square[m][half];
            all += __shfl_xor_sync(all_lanes, all, 1);
            all += __shfl_xor_sync(all_lanes, all, 2);
            if (q == 0) squares[slice][group * 32 + 16 * m + 8 * half + g] = all;
        }
    __syncthreads();
    // A warp finishes the pieces of 8 rows of x and a unit, in turn.
    for (int i = warp; i < U * R * 4; i += more_rows_warps) {
        const int eighth = i % (R * 4), unit = first_unit + i / (R * 4);
        const int of_group = eighth / 4, m = eighth % 4 / 2, half = eighth % 2;
        const int row = eighth * 8 + g, n = blockIdx.y * R * 32 + row;
        if (unit >= units || n >= in.N) continue;
        float total[2][2] = {}, scale = 1;
        UNROLL for (int s = 0; s < slices; ++s) UNROLL for (int j = 0; j < 2; ++j)
            UNROLL for (int k = 0; k < 2; ++k) total[j][k] +=
            sums[place(s, of_group, m, i / (R * 4) * 2 + j, 2 * half + k) + lane];
        if (normed) {
            float all = 0;
            UNROLL for (int s = 0; s < slices; ++s) all += squares[s][row];
            scale = 1 / sqrtf(all / in.C + in.eps);
        }
        UNROLL for (int j = 0; j < 2; ++j) UNROLL for (int k = 0; k < 2; ++k) total[j][k] *= scale;
        const auto inputs = out.read(out.read_early(unit, n, 2 * q), unit, n, 2 * q);
        out.finish(inputs, unit, n, 2 * q, total);
    }
}

// The sums over one part of the channels: parts[blockIdx.z] (N, O)
struct StorePart {
    static constexpr int pieces = 2;
    float* parts;
    int N, O;
    __device__ __forceinline__ int row(int unit, int piece) const {
        return min(unit * 16 + piece * 8, O - 8);
    }
    __device__ __forceinline__ Nothing read_early(int, int, int) const { return {}; }
    __device__ __forceinline__ Nothing read(Nothing, int, int, int) const { return {}; }
    __device__ __forceinline__ void finish(Nothing, int unit, int n, int c,
                                           const float (&sum)[2][2]) const {
        float* to = parts + ((int64_t)blockIdx.z * N + n) * O + unit * 16 + c;
        UNROLL for (int j = 0; j < 2; ++j) if (unit * 16 + j * 8 < O) *
            reinterpret_cast<float2*>(to + j * 8) = make_float2(sum[j][0], sum[j][1]);
    }
};

// z = x + the sum of the parts in order, rounded before it is added as where it is stored; 4 elements a thread
__global__ void __launch_bounds__(128)
    add_parts_kernel(bf16* z, const bf16* x, const float* parts, int count, int64_t size) {
    const int64_t i = ((int64_t)blockIdx.x * 128 + threadIdx.x) * 4;
    let_next_launch_begin();
    wait_for_earlier_launches();
    if (i >= size) return;
    const uint2 given = *reinterpret_cast<const uint2*>(x + i);
    float4 sum = {0, 0, 0, 0};
    UNROLL_BY(8) for (int s = 0; s < count; ++s) {
        const float4 part = __ldcg(reinterpret_cast<const float4*>(parts + s * size + i));
        sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
    }
    const unsigned low = pack_halves(sum.x, sum.y), high = pack_halves(sum.z, sum.w);
    Word* to = reinterpret_cast<Word*>(z + i);
    to[0] = pack_halves(low_half(given.x) + low_half(low), high_half(given.x) + high_half(low));
    to[1] = pack_halves(low_half(given.y) + low_half(high), high_half(given.y) + high_half(high));
}

// ---- launches -----------------------------------------------------------------------------------

static int part_channels(int C, int splits) { return (int)ceil_div(ceil_div(C, splits), 32) * 32; }

template <int U, int R, bool normed, class Finish>
static void launch_products(const char* op, const FewRows& in, int64_t units, int splits,
                            const Finish& finish) {
    const int chunk = part_channels(in.C, splits);
    launch_overlapped(op, more_rows_kernel<U, R, normed, Finish>,
                      dim3((unsigned)ceil_div(units, U), (unsigned)ceil_div(in.N, 32 * R),
                           (unsigned)ceil_div(in.C, chunk)),
                      more_rows_threads,
                      MoreRows<U, R>::shared + (normed ? in.C * sizeof(bf16) : 0), in, finish,
                      (int)units, chunk);
}

// As many groups of 32 rows as there are, up to `most`.
template <int U, int most, bool normed, class Finish>
static void run(const char* op, const FewRows& in, int64_t units, int splits,
                const Finish& finish) {
    if (in.N <= 32)
        launch_products<U, 1, normed>(op, in, units, splits, finish);
    else if (in.N <= 64 || most == 2)
        launch_products<U, 2, normed>(op, in, units, splits, finish);
    else
        launch_products<U, most, normed>(op, in, units, splits, finish);
}

bool more_rows_qkv(const char* op, const FewRows& in, int64_t units, const StoreQkv& finish) {
    const int64_t blocks = in.C <= widest_more_rows ? context().multiprocessors : 0;
    if (units <= blocks)
        run<1, 2, true>(op, in, units, 1, finish);
    else if (units <= 2 * blocks)
        run<2, 2, true>(op, in, units, 1, finish);
    else
        return false;
    return true;
}

bool more_rows_swiglu(const char* op, const FewRows& in, int64_t units, const StoreSwiglu& finish) {
    const int64_t blocks = in.C <= widest_more_rows ? context().multiprocessors : 0;
    if (units <= 2 * blocks)
        run<2, 4, true>(op, in, units, 1, finish);
    else if (units <= 5 * blocks)
        run<5, 4, true>(op, in, units, 1, finish);
    else
        return false;
    return true;
}

void more_rows_residual(const char* op, bf16* z, const bf16* x, const FewRows& in, int64_t O) {
    constexpr int U = 4, least_channels = 128; // of a part
    const int64_t units = ceil_div(O, 16), size = in.N * O;
    // as many parts of the channels as keep all multiprocessors busy
    const int splits =
        (int)std::max<int64_t>(1, std::min<int64_t>(context().multiprocessors / ceil_div(units, U),
                                                    in.C / least_channels));
    const int count = (int)ceil_div(in.C, part_channels(in.C, splits));
    float* parts = static_cast<float*>(scratch(count * size * sizeof(float)));
    run<U, 4, false>(op, in, units, splits, StorePart{parts, in.N, (int)O});
    launch_overlapped(op, add_parts_kernel, (unsigned)ceil_div(size, 512), 128, 0, z, x, parts,
                      count, size);
}

} // namespace gpu
