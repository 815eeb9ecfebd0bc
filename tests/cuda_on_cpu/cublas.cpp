// cuBLAS stand-in: bf16 or f32 in and out, products summed in f32 in the order of k.

#include <cublas_v2.h>
#include <cuda_bf16.h>

#include <array>
#include <vector>

struct cublasContext {
    cudaStream_t stream = nullptr;
};

namespace {

struct Matrix { // column-major
    char* data;
    cudaDataType type;
    int64_t stride; // of columns, in elements
    bool transposed = false;

    size_t at(int row, int column) const {
        return transposed ? row * stride + column : column * stride + row;
    }
    float get(int row, int column) const {
        size_t i = at(row, column);
        return type == CUDA_R_32F ? ((float*)data)[i] : float(((__nv_bfloat16*)data)[i]);
    }
    void set(int row, int column, float value) const {
        size_t i = at(row, column);
        if (type == CUDA_R_32F)
            ((float*)data)[i] = value;
        else
            ((__nv_bfloat16*)data)[i] = value;
    }
    size_t element_bytes() const { return type == CUDA_R_32F ? 4 : 2; }
    // Whether all of a (rows, columns) matrix is device memory.
    bool on_device(int rows, int columns) const {
        if (rows == 0 || columns == 0) return true;
        return cusim::is_device(data, (at(rows - 1, columns - 1) + 1) * element_bytes());
    }
    // Tells the access checker of every stored column.
    void note(void (*what)(const void*, size_t), int rows, int columns) const {
        if (transposed) std::swap(rows, columns);
        for (int j = 0; j < columns; ++j)
            what(data + j * stride * element_bytes(), rows * element_bytes());
    }
};

// c[j][i] += a[l][i] b[l][j] for four columns j at a time.
void add_products(float* __restrict__ c, const float* __restrict__ a, const float* __restrict__ b,
                  int m, int k) {
    for (int l = 0; l < k; ++l) {
        const float* al = a + (size_t)l * m;
        float b0 = b[4 * l], b1 = b[4 * l + 1], b2 = b[4 * l + 2], b3 = b[4 * l + 3];
        for (int i = 0; i < m; ++i) {
            c[i] += al[i] * b0;
            c[m + i] += al[i] * b1;
            c[2 * m + i] += al[i] * b2;
            c[3 * m + i] += al[i] * b3;
        }
    }
}

void gemm(int m, int n, int k, float alpha, Matrix a, Matrix b, float beta, Matrix c) {
    constexpr int panel = 256;
    std::vector<float> as((size_t)k * panel), bs((size_t)k * 4), sums((size_t)panel * 4);
    for (int i0 = 0; i0 < m; i0 += panel) {
        int rows = std::min(panel, m - i0);
        for (int l = 0; l < k; ++l)
            for (int i = 0; i < rows; ++i) as[(size_t)l * rows + i] = a.get(i0 + i, l);
        for (int j0 = 0; j0 < n; j0 += 4) {
            int columns = std::min(4, n - j0);
            for (int l = 0; l < k; ++l)
                for (int j = 0; j < 4; ++j) bs[4 * l + j] = j < columns ? b.get(l, j0 + j) : 0;
            std::fill(sums.begin(), sums.end(), 0.f);
            add_products(sums.data(), as.data(), bs.data(), rows, k);
            for (int j = 0; j < columns; ++j) {
                for (int i = 0; i < rows; ++i) {
                    float before = beta != 0 ? beta * c.get(i0 + i, j0 + j) : 0; // 0: c may be NaN
                    c.set(i0 + i, j0 + j, alpha * sums[(size_t)j * rows + i] + before);
                }
            }
        }
    }
}

} // namespace

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
    *handle = new cublasContext;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetAtomicsMode(cublasHandle_t, cublasAtomicsMode_t) {
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace(cublasHandle_t, void* workspace, size_t bytes) {
    bool right = cusim::is_device(workspace, bytes) && (uintptr_t)workspace % 256 == 0;
    return right || !bytes ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
const char* cublasGetStatusString(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "unknown";
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t op_a,
                                          cublasOperation_t op_b, int m, int n, int k,
                                          const void* alpha, const void* a, cudaDataType type_a,
                                          int lda, long long stride_a, const void* b,
                                          cudaDataType type_b, int ldb, long long stride_b,
                                          const void* beta, void* c, cudaDataType type_c, int ldc,
                                          long long stride_c, int batch,
                                          cublasComputeType_t compute, cublasGemmAlgo_t) {
    bool ta = op_a != CUBLAS_OP_N, tb = op_b != CUBLAS_OP_N;
    if (m < 0 || n < 0 || k < 0 || batch < 0 || lda < std::max(1, ta ? k : m) ||
        ldb < std::max(1, tb ? n : k) || ldc < std::max(1, m))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (type_a != type_b || (type_a == CUDA_R_32F && type_c != CUDA_R_32F))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_FAST_TF32)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    std::vector<std::array<Matrix, 3>> list;
    for (int i = 0; i < batch; ++i) {
        Matrix ma{(char*)a, type_a, lda, ta}, mb{(char*)b, type_b, ldb, tb},
            mc{(char*)c, type_c, ldc};
        ma.data += i * stride_a * (long long)ma.element_bytes();
        mb.data += i * stride_b * (long long)mb.element_bytes();
        mc.data += i * stride_c * (long long)mc.element_bytes();
        if (!ma.on_device(m, k) || !mb.on_device(k, n) || !mc.on_device(m, n))
            cusim::die("cuBLAS is given a matrix that does not lie in one block of device memory");
        list.push_back({ma, mb, mc});
    }
    float al = *(const float*)alpha, be = *(const float*)beta;
    cusim::enqueue(handle->stream, [=] {
        for (auto& [ma, mb, mc] : list) {
            ma.note(cusim::note_read, m, k), mb.note(cusim::note_read, k, n);
            if (be != 0) mc.note(cusim::note_read, m, n);
            gemm(m, n, k, al, ma, mb, be, mc);
            mc.note(cusim::note_written, m, n);
        }
    });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                            int m, int n, int k, const void* alpha, const void* a,
                            cudaDataType type_a, int lda, const void* b, cudaDataType type_b,
                            int ldb, const void* beta, void* c, cudaDataType type_c, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t algorithm) {
    return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, type_a, lda, 0, b,
                                      type_b, ldb, 0, beta, c, type_c, ldc, 0, 1, compute,
                                      algorithm);
}
