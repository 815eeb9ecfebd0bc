// The cuBLAS stand-in against a plain sum, for every transposition and both types; odd sizes, leading
// dimensions larger than they must be.

#include "testing.h"

#include <cublas_v2.h>
#include <cuda_bf16.h>

template <class In, class Out> static void expect_gemm(bool ta, bool tb, float alpha, float beta) {
    const int m = 7, n = 5, k = 9, lda = 11, ldb = 13, ldc = 8, batch = 2;
    auto type = [](auto x) { return sizeof x == 4 ? CUDA_R_32F : CUDA_R_16BF; };
    std::vector<In> a(lda * 11 * batch), b(ldb * 11 * batch);
    std::vector<Out> c(ldc * n * batch);
    for (size_t i = 0; i < a.size(); ++i) a[i] = In(float(i % 7) - 3);
    for (size_t i = 0; i < b.size(); ++i) b[i] = In(float(i % 5) - 2);
    for (size_t i = 0; i < c.size(); ++i) c[i] = beta == 0 ? Out(NAN) : Out(float(i % 3));
    Device<In> da(a), db(b);
    Device<Out> dc(c);
    cublasHandle_t handle;
    cublasCreate(&handle);
    ASSERT_EQ(cublasGemmStridedBatchedEx(handle, ta ? CUBLAS_OP_T : CUBLAS_OP_N,
                                         tb ? CUBLAS_OP_T : CUBLAS_OP_N, m, n, k, &alpha, da.data,
                                         type(In()), lda, lda * 11, db.data, type(In()), ldb,
                                         ldb * 11, &beta, dc.data, type(Out()), ldc, ldc * n, batch,
                                         CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
              CUBLAS_STATUS_SUCCESS);
    cublasDestroy(handle);
    std::vector<Out> y = dc.get();
    for (int s = 0; s < batch; ++s) {
        for (int i = 0; i < m; ++i) {
            for (int j = 0; j < n; ++j) {
                float sum = 0; // small integers: exact in bf16, too
                for (int l = 0; l < k; ++l)
                    sum += float(a[s * lda * 11 + (ta ? i * lda + l : l * lda + i)]) *
                           float(b[s * ldb * 11 + (tb ? l * ldb + j : j * ldb + l)]);
                int at = s * ldc * n + j * ldc + i;
                EXPECT_EQ(float(y[at]), alpha * sum + (beta ? beta * float(c[at]) : 0));
            }
        }
    }
}

TEST(CublasStandIn, MultipliesAsDocumented) {
    for (bool ta : {false, true}) {
        for (bool tb : {false, true}) {
            for (float beta : {0.f, 1.f}) {
                expect_gemm<float, float>(ta, tb, 1, beta);
                expect_gemm<__nv_bfloat16, __nv_bfloat16>(ta, tb, 1, beta);
                expect_gemm<__nv_bfloat16, float>(ta, tb, 2, beta);
            }
        }
    }
}

TEST(CublasStandIn, RefusesWhatTheLibraryRefuses) {
    Device<float> x(64);
    cublasHandle_t handle;
    cublasCreate(&handle);
    float one = 1;
    auto call = [&](int lda, cudaDataType type_b, cudaDataType type_c) {
        return cublasGemmEx(handle, CUBLAS_OP_N, CUBLAS_OP_N, 4, 4, 4, &one, x.data, CUDA_R_32F,
                            lda, x.data, type_b, 4, &one, x.data, type_c, 4, CUBLAS_COMPUTE_32F,
                            CUBLAS_GEMM_DEFAULT);
    };
    EXPECT_EQ(call(3, CUDA_R_32F, CUDA_R_32F), CUBLAS_STATUS_INVALID_VALUE);
    EXPECT_EQ(call(4, CUDA_R_16BF, CUDA_R_32F), CUBLAS_STATUS_NOT_SUPPORTED);
    EXPECT_EQ(call(4, CUDA_R_32F, CUDA_R_16BF), CUBLAS_STATUS_NOT_SUPPORTED);
    EXPECT_DEATH(call(1000, CUDA_R_32F, CUDA_R_32F), "does not lie in one block of device memory");
    cublasDestroy(handle);
}
