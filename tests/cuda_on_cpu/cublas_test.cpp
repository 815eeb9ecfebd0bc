// The cublasLt stand-in against a plain sum, for every transposition and both types; odd sizes, leading
// dimensions larger than they must be.

#include "testing.h"

#include <array>

#include <cublasLt.h>
#include <cuda_bf16.h>

namespace {

struct Stored { // column-major, as it lies in memory
    void* data;
    cudaDataType type;
    int rows, columns, leading;
};

cublasStatus_t multiply(const Stored& a, bool ta, const Stored& b, bool tb, float alpha, float beta,
                        const Stored& c, void* bias = nullptr) {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t product;
    cublasLtMatmulPreference_t wanted;
    cublasLtCreate(&handle);
    cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    auto set = [&](cublasLtMatmulDescAttributes_t what, auto value) {
        EXPECT_EQ(cublasLtMatmulDescSetAttribute(product, what, &value, sizeof value),
                  CUBLAS_STATUS_SUCCESS);
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, ta ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, tb ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (bias) {
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
        set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    }
    cublasLtMatrixLayout_t layout[3];
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    for (int i = 0; i < 3; ++i) {
        const Stored& x = *std::array{&a, &b, &c}[i];
        const auto made =
            cublasLtMatrixLayoutCreate(&layout[i], x.type, x.rows, x.columns, x.leading);
        if (made != CUBLAS_STATUS_SUCCESS) status = made;
    }
    cublasLtMatmulPreferenceCreate(&wanted);
    const uint32_t alignment = 4;
    cublasLtMatmulPreferenceSetAttribute(wanted, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                         &alignment, sizeof alignment);
    cublasLtMatmulHeuristicResult_t found[3];
    int count = 0;
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulAlgoGetHeuristic(handle, product, layout[0], layout[1], layout[2],
                                                layout[2], wanted, 3, found, &count);
    if (status == CUBLAS_STATUS_SUCCESS) {
        EXPECT_EQ(count, 2);
        EXPECT_EQ(cublasLtMatmulAlgoCheck(handle, product, layout[0], layout[1], layout[2],
                                          layout[2], &found[1].algo, &found[2]),
                  CUBLAS_STATUS_SUCCESS);
        status = cublasLtMatmul(handle, product, &alpha, a.data, layout[0], b.data, layout[1],
                                &beta, c.data, layout[2], c.data, layout[2], &found[1].algo,
                                nullptr, 0, nullptr);
    }
    cublasLtMatmulPreferenceDestroy(wanted);
    for (cublasLtMatrixLayout_t one : layout) cublasLtMatrixLayoutDestroy(one);
    cublasLtMatmulDescDestroy(product);
    cublasLtDestroy(handle);
    return status;
}

template <class In, class Out>
void expect_product(bool ta, bool tb, float alpha, float beta, bool has_bias) {
    const int m = 7, n = 5, k = 9, lda = 11, ldb = 13, ldc = 8;
    auto type = [](auto x) { return sizeof x == 4 ? CUDA_R_32F : CUDA_R_16BF; };
    std::vector<In> a(lda * 11), b(ldb * 11);
    std::vector<Out> c(ldc * n), bias(m);
    for (size_t i = 0; i < a.size(); ++i) a[i] = In(float(i % 7) - 3);
    for (size_t i = 0; i < b.size(); ++i) b[i] = In(float(i % 5) - 2);
    for (size_t i = 0; i < c.size(); ++i) c[i] = beta == 0 ? Out(NAN) : Out(float(i % 3));
    for (int i = 0; i < m; ++i) bias[i] = Out(float(i) - 4);
    Device<In> da(a), db(b);
    Device<Out> dc(c), dbias(bias);
    ASSERT_EQ(multiply({da.data, type(In()), ta ? k : m, ta ? m : k, lda}, ta,
                       {db.data, type(In()), tb ? n : k, tb ? k : n, ldb}, tb, alpha, beta,
                       {dc.data, type(Out()), m, n, ldc}, has_bias ? dbias.data : nullptr),
              CUBLAS_STATUS_SUCCESS);
    std::vector<Out> y = dc.get();
    for (int i = 0; i < m; ++i)
        for (int j = 0; j < n; ++j) {
            float sum = 0; // small integers: exact in bf16, too
            for (int l = 0; l < k; ++l)
                sum += float(a[ta ? i * lda + l : l * lda + i]) *
                       float(b[tb ? l * ldb + j : j * ldb + l]);
            const int at = j * ldc + i;
            EXPECT_EQ(float(y[at]), alpha * sum + (beta ? beta * float(c[at]) : 0) +
                                        (has_bias ? float(bias[i]) : 0));
        }
}

} // namespace

TEST(CublasStandIn, MultipliesAsDocumented) {
    for (bool ta : {false, true})
        for (bool tb : {false, true})
            for (float beta : {0.f, 1.f})
                for (bool bias : {false, true}) {
                    expect_product<float, float>(ta, tb, 1, beta, bias);
                    expect_product<__nv_bfloat16, __nv_bfloat16>(ta, tb, 1, beta, bias);
                    expect_product<__nv_bfloat16, float>(ta, tb, 2, beta, bias);
                }
}

TEST(CublasStandIn, RefusesWhatTheLibraryRefuses) {
    Device<float> x(64);
    auto call = [&](int lda, cudaDataType type_b, cudaDataType type_c, int k = 4) {
        return multiply({x.data, CUDA_R_32F, 4, 4, lda}, false, {x.data, type_b, k, 4, k}, false, 1,
                        1, {x.data, type_c, 4, 4, 4});
    };
    EXPECT_EQ(call(3, CUDA_R_32F, CUDA_R_32F), CUBLAS_STATUS_INVALID_VALUE);
    EXPECT_EQ(call(4, CUDA_R_32F, CUDA_R_32F, 5), CUBLAS_STATUS_INVALID_VALUE);
    EXPECT_EQ(call(4, CUDA_R_16BF, CUDA_R_32F), CUBLAS_STATUS_NOT_SUPPORTED);
    EXPECT_EQ(call(4, CUDA_R_32F, CUDA_R_16BF), CUBLAS_STATUS_NOT_SUPPORTED);
    EXPECT_DEATH(call(1000, CUDA_R_32F, CUDA_R_32F), "does not lie in one block of device memory");
}
