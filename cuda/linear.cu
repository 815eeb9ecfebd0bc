// Products with a weight.

#include "gemm.h"
#include "sums.cuh"

namespace gpu {

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
    Product product = {.c = y, .a = w, .b = x, .m = O, .n = N, .k = C, .a_transposed = true};
    // In the product, for outputs of the weights' type whose rows are whole 16-byte pieces; else the bias goes
    // in first, and the product is added to it.
    if (bias && y.dtype == x.dtype && O % full_width == 0 && is_aligned(bias)) {
        product.bias = bias;
    } else if (bias) {
        const unsigned blocks = (unsigned)ceil_div(N * O, 256);
        if (y.dtype == DType::f32)
            launch(op, fill_rows_kernel<float, T>, blocks, 256, 0, (float*)y.data, bias, N * O, O);
        else
            launch(op, fill_rows_kernel<T, T>, blocks, 256, 0, (T*)y.data, bias, N * O, O);
        product.add = true;
    }
    multiply(op, product);
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
    if (dx.data) multiply(op, {.c = dx, .a = w, .b = dy, .m = C, .n = N, .k = O, .add = dx_.add});
    if (dw.data)
        multiply(op, {.c = dw,
                      .a = x,
                      .b = dy,
                      .m = C,
                      .n = O,
                      .k = N,
                      .b_transposed = true,
                      .add = dw_.add});
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
