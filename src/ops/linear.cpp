// Matrix products with a weight. In f32 by oneDNN, with inputs in f32 or rounded to bf16; in f64 (for
// gradient checks) by plain loops.

#include "ops/gemm.h"
#include "ops/install.h"
#include "ops/row_math.h"

namespace cpu {

// To the nearest bf16, ties to even; NaN stays NaN.
static void round_to_bf16(uint16_t* to, const float* from, int64_t size) {
    const uint32_t* bits = reinterpret_cast<const uint32_t*>(from);
#pragma omp parallel for simd schedule(static) if (size > 1 << 14)
    for (int64_t i = 0; i < size; ++i) {
        uint32_t u = bits[i];
        uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
        to[i] = (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? u >> 16 | 0x40 : rounded);
    }
}

static const uint16_t* in_bf16(Slot slot, const float* from, int64_t size) {
    uint16_t* to = static_cast<uint16_t*>(scratch(slot, size * sizeof(uint16_t)));
    round_to_bf16(to, from, size);
    return to;
}

// dbias_o += sum_n dy_no. A thread owns columns and takes the rows in order.
template <class T> static void column_sums(T* dbias, bool add, const T* dy, int64_t N, int64_t O) {
#pragma omp parallel for if (N * O > 1 << 14)
    for (int64_t first = 0; first < O; first += 64) {
        const int64_t width = std::min<int64_t>(64, O - first);
        T sums[64] = {};
        for (int64_t n = 0; n < N; ++n)
            for (int64_t o = 0; o < width; ++o) sums[o] += dy[n * O + first + o];
        for (int64_t o = 0; o < width; ++o)
            dbias[first + o] = add ? dbias[first + o] + sums[o] : sums[o];
    }
}

// ---- f32 and bf16 -------------------------------------------------------------------------------

// The form of w that the product reads. Packed is faster, most of all for few rows, as in decoding;
// the bits are the same.
static const void* weight_for(const Weight& w, DType inputs, Gemm& g) {
    g.inputs = inputs;
    g.b_form = Gemm::packed;
    if (w.packed) return w.packed.data;
    const void* plain = inputs == DType::bf16 ? w.copy.data : w.w.data;
    if (gemm_needs_packed(g.N, g.K, inputs)) {
        void* packed = scratch(Slot::gemm_b, gemm_packed_bytes(g.N, g.K, inputs));
        gemm_pack(packed, plain, g.N, g.K, inputs);
        return packed;
    }
    g.b_form = Gemm::transposed;
    return plain;
}

template <DType inputs>
static void forward(float* y, const float* x, const Weight& w, int64_t N, int64_t O, int64_t C) {
    Gemm g = {.M = N, .N = O, .K = C};
    const void* weight = weight_for(w, inputs, g);
    const void* a = inputs == DType::bf16 ? (const void*)in_bf16(Slot::gemm_a, x, N * C) : x;
    gemm(g, y, a, weight);
}

// dx and dw may be null; add_x, add_w: to what they hold.
template <DType inputs>
static void backward(float* dx, bool add_x, float* dw, bool add_w, const float* dy, const float* x,
                     const Weight& w, int64_t N, int64_t O, int64_t C) {
    const bool bf16 = inputs == DType::bf16;
    const void* dy_in = bf16 ? (const void*)in_bf16(Slot::gemm_a, dy, N * O) : dy;
    if (dx)
        gemm({.inputs = inputs, .M = N, .N = C, .K = O, .accumulate = add_x}, dx, dy_in,
             bf16 ? w.copy.data : w.w.data);
    if (dw) {
        const void* x_in = bf16 ? (const void*)in_bf16(Slot::gemm_b, x, N * C) : x;
        gemm({.inputs = inputs, .M = O, .N = C, .K = N, .a_transposed = true, .accumulate = add_w},
             dw, dy_in, x_in);
    }
}

// ---- f64 ----------------------------------------------------------------------------------------

template <DType>
static void forward(double* y, const double* x, const Weight& w, int64_t N, int64_t O, int64_t C) {
    const double* wp = w.w.as<double>();
#pragma omp parallel for collapse(2) if (N * O * C > 1 << 14)
    for (int64_t block = 0; block < O; block += 32)
        for (int64_t n = 0; n < N; ++n)
            for (int64_t o = block; o < std::min(O, block + 32); ++o)
                y[n * O + o] = dot(x + n * C, wp + o * C, C);
}

// to_i += sum_j factor(j) row_j, or without `add` =, with the terms in order of j
template <class F>
static void add_rows(double* to, bool add, const double* row, int64_t rows, int64_t C,
                     const F& factor) {
    if (!add) std::fill(to, to + C, 0.0);
    for (int64_t j = 0; j < rows; ++j) {
        const double a = factor(j), *from = row + j * C;
        for (int64_t c = 0; c < C; ++c) to[c] = fma(a, from[c], to[c]);
    }
}

template <DType>
static void backward(double* dx, bool add_x, double* dw, bool add_w, const double* dy,
                     const double* x, const Weight& w, int64_t N, int64_t O, int64_t C) {
    const double* wp = w.w.as<double>();
#pragma omp parallel if (N * O * C > 1 << 14)
    {
        if (dx)
#pragma omp for
            for (int64_t n = 0; n < N; ++n)
                add_rows(dx + n * C, add_x, wp, O, C, [&](int64_t o) { return dy[n * O + o]; });
        if (dw)
#pragma omp for
            for (int64_t o = 0; o < O; ++o)
                add_rows(dw + o * C, add_w, x, N, C, [&](int64_t n) { return dy[n * O + o]; });
    }
}

// ---- the ops ------------------------------------------------------------------------------------

template <class T, DType gemm_type>
static void check_weight(const char* op, const Weight& w, int64_t O, int64_t C) {
    arg<T>(op, "w", w.w, {O, C});
    if (gemm_type == DType::bf16) {
        check_shape(op, "w.copy", w.copy, {O, C});
        CHECK(w.copy.dtype == DType::bf16, "%s: w.copy is %s, wanted bf16", op,
              dtype_name(w.copy.dtype));
    }
}

template <class T, DType gemm_type>
static void linear_forward(Tensor y, Tensor x, const Weight& w, Tensor bias) {
    const char* op = "linear_forward";
    int64_t N = x.shape[0], C = x.shape[1], O = w.w.shape[0];
    T* yp = arg<T>(op, "y", y, {N, O});
    const T* xp = arg<T>(op, "x", x, {N, C});
    const T* biasp = optional_arg<T>(op, "bias", bias, {O});
    check_weight<T, gemm_type>(op, w, O, C);
    forward<gemm_type>(yp, xp, w, N, O, C);
    if (!biasp) return;
    each_row(N, N * O > 1 << 14, [&](int64_t n) {
        for (int64_t o = 0; o < O; ++o) yp[n * O + o] += biasp[o];
    });
}

template <class T, DType gemm_type>
static void linear_backward(Gradient dx, Gradient dw, Gradient dbias, Tensor dy, Tensor x,
                            const Weight& w) {
    const char* op = "linear_backward";
    int64_t N = x.shape[0], C = x.shape[1], O = w.w.shape[0];
    T* dxp = optional_arg<T>(op, "dx", dx.to, {N, C});
    T* dwp = optional_arg<T>(op, "dw", dw.to, {O, C});
    T* dbiasp = optional_arg<T>(op, "dbias", dbias.to, {O});
    const T* dyp = arg<T>(op, "dy", dy, {N, O});
    const T* xp = arg<T>(op, "x", x, {N, C});
    check_weight<T, gemm_type>(op, w, O, C);
    backward<gemm_type>(dxp, dx.add, dwp, dw.add, dyp, xp, w, N, O, C);
    if (dbiasp) column_sums(dbiasp, dbias.add, dyp, N, O);
}

static size_t packed_bytes(int64_t O, int64_t C, DType gemm) {
    return gemm == DType::f64 ? 0 : gemm_packed_bytes(O, C, gemm);
}

template <class T, DType gemm_type> static void refresh_weight(const Weight& w) {
    const char* op = "refresh_weight";
    int64_t O = w.w.shape[0], C = w.w.shape[1];
    const T* wp = arg<T>(op, "w", w.w, {O, C});
    if constexpr (gemm_type == DType::bf16) {
        check_weight<T, gemm_type>(op, w, O, C);
        round_to_bf16(static_cast<uint16_t*>(w.copy.data), wp, O * C);
    }
    if (gemm_type == DType::f64 || !w.packed) return;
    check_shape(op, "w.packed", w.packed, {(int64_t)packed_bytes(O, C, gemm_type)});
    gemm_pack(w.packed.data, gemm_type == DType::bf16 ? w.copy.data : w.w.data, O, C, gemm_type);
}

template <class T, DType gemm_type> static void install(Ops& ops) {
    ops.linear_forward = linear_forward<T, gemm_type>;
    ops.linear_backward = linear_backward<T, gemm_type>;
    ops.packed_bytes = packed_bytes;
    ops.refresh_weight = refresh_weight<T, gemm_type>;
}

template <> void install_linear<float>(Ops& ops, DType gemm) {
    gemm == DType::bf16 ? install<float, DType::bf16>(ops) : install<float, DType::f32>(ops);
}
template <> void install_linear<double>(Ops& ops, DType) { install<double, DType::f64>(ops); }

} // namespace cpu
