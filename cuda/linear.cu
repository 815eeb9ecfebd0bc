// Matrix products with a weight, by cuBLAS: f32 without TF32, bf16 with accumulation in f32. cuBLAS is
// column-major: a row-major (N, C) is its (C, N). The same call gives the same bits, as there is one
// stream and one workspace [cuBLAS manual, section 2.1.4].

#include "sums.cuh"

namespace gpu {

// A matrix as cuBLAS is told about it: element type and the length of a row.
struct Matrix {
    const void* data;
    DType dtype;
    int64_t row;
};

static cudaDataType_t blas_type(DType dtype) {
    return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

// c (n, m) = b (n, k) a (k, m) + beta c, all row-major; a_transposed: a is stored (m, k); likewise b.
static void gemm(const char* op, Matrix c, Matrix a, bool a_transposed, Matrix b, bool b_transposed,
                 int64_t m, int64_t n, int64_t k, float beta) {
    const float one = 1;
    check_blas(cublasGemmEx(context().blas, a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                            b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N, (int)m, (int)n, (int)k, &one,
                            a.data, blas_type(a.dtype), (int)a.row, b.data, blas_type(b.dtype),
                            (int)b.row, &beta, const_cast<void*>(c.data), blas_type(c.dtype),
                            (int)c.row, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
               op);
}

// y_n = bias for every row
template <class Y, class T>
__global__ void __launch_bounds__(256)
    fill_rows_kernel(Y* __restrict__ y, const T* __restrict__ bias, int64_t size, int64_t O) {
    const int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (i < size) y[i] = from_float<Y>(to_float(bias[i % O]));
}

__global__ void __launch_bounds__(256)
    round_kernel(bf16* __restrict__ to, const float* __restrict__ from, int64_t size) {
    const int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (i < size) to[i] = __float2bfloat16(from[i]);
}

// The elements of y or dy, which is a result in f32 where the outputs are few (a row's value).
template <class T>
static Matrix output(const char* op, const char* name, const Tensor& y, int64_t N, int64_t O) {
    if (y.dtype == DType::f32) return {arg<float>(op, name, y, {N, O}), DType::f32, O};
    return {arg<T>(op, name, y, {N, O}), dtype_of<T>(), O};
}

template <class T>
static void linear_forward(Tensor y_, Tensor x_, const Weight& w_, Tensor bias_) {
    const char* op = "linear_forward";
    const int64_t N = x_.shape[0], C = x_.shape[1], O = w_.w.shape[0];
    const Matrix y = output<T>(op, "y", y_, N, O);
    const Matrix x = {arg<T>(op, "x", x_, {N, C}), dtype_of<T>(), C};
    const Matrix w = {arg<T>(op, "w", w_.w, {O, C}), dtype_of<T>(), C};
    const T* bias = optional_arg<T>(op, "bias", bias_, {O});
    if (N == 0) return;
    // The bias goes in first: then the product is rounded once, with it.
    if (bias) {
        const unsigned blocks = (unsigned)ceil_div(N * O, 256);
        if (y.dtype == DType::f32)
            launch(op, fill_rows_kernel<float, T>, blocks, 256, 0, (float*)y.data, bias, N * O, O);
        else
            launch(op, fill_rows_kernel<T, T>, blocks, 256, 0, (T*)y.data, bias, N * O, O);
    }
    gemm(op, y, w, true, x, false, O, N, C, bias ? 1 : 0);
}

template <class T>
static void linear_backward(Gradient dx_, Gradient dw_, Gradient dbias_, Tensor dy_, Tensor x_,
                            const Weight& w_) {
    const char* op = "linear_backward";
    const int64_t N = x_.shape[0], C = x_.shape[1], O = w_.w.shape[0];
    const Matrix dx = {optional_arg<T>(op, "dx", dx_.to, {N, C}), dtype_of<T>(), C};
    const Matrix dw = {optional_arg<float>(op, "dw", dw_.to, {O, C}), DType::f32, C};
    float* dbias = optional_arg<float>(op, "dbias", dbias_.to, {O});
    Matrix dy = output<T>(op, "dy", dy_, N, O);
    const Matrix x = {arg<T>(op, "x", x_, {N, C}), dtype_of<T>(), C};
    const Matrix w = {arg<T>(op, "w", w_.w, {O, C}), dtype_of<T>(), C};
    if (N == 0) return;
    if (dbias) {
        float* partial = static_cast<float*>(scratch(most_partials * O * sizeof(float)));
        if (dy.dtype == DType::f32)
            column_sums(op, dbias, dbias_.add, (const float*)dy.data, N, O, partial);
        else
            column_sums(op, dbias, dbias_.add, (const T*)dy.data, N, O, partial);
    }
    if (dy.dtype != w.dtype) { // the product wants both in one type
        bf16* rounded = static_cast<bf16*>(scratch(N * O * sizeof(bf16)));
        launch(op, round_kernel, (unsigned)ceil_div(N * O, 256), 256, 0, rounded,
               (const float*)dy.data, N * O);
        dy = {rounded, DType::bf16, O};
    }
    if (dx.data) gemm(op, dx, w, false, dy, false, C, N, O, dx_.add);
    if (dw.data) gemm(op, dw, x, false, dy, true, C, O, N, dw_.add);
}

// cuBLAS reads the weight as it is.
static size_t packed_bytes(int64_t, int64_t, DType) { return 0; }
static void refresh_weight(const Weight& w) {
    CHECK(!w.copy && !w.packed,
          "refresh_weight: on the GPU a weight has no other forms; copy is "
          "%s, packed is %s",
          shape_text(w.copy).c_str(), shape_text(w.packed).c_str());
}

template <class T> void install_linear(Ops& ops) {
    ops.linear_forward = linear_forward<T>;
    ops.linear_backward = linear_backward<T>;
    ops.packed_bytes = packed_bytes;
    ops.refresh_weight = refresh_weight;
}
template void install_linear<float>(Ops&);
template void install_linear<bf16>(Ops&);

} // namespace gpu
