// cublasLt stand-in: bf16 or f32 in and out, products summed in f32 in the order of k.

#include <cublasLt.h>
#include <cuda_bf16.h>

#include <cstring>
#include <vector>

struct cublasLtContext {};
struct cublasLtDescription {
    cublasComputeType_t compute;
    bool a_transposed = false, b_transposed = false, has_bias = false;
    char* bias = nullptr;
};
struct cublasLtLayout {
    cudaDataType type;
    int rows, columns; // as stored
    int64_t leading;
};
struct cublasLtPreference {
    uint64_t workspace_bytes = 0;
    uint32_t alignment = 256; // what the library supposes
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

// bias: null for none
void gemm(int m, int n, int k, float alpha, Matrix a, Matrix b, float beta, Matrix c, Matrix d,
          const Matrix* bias) {
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
                    if (bias) before += bias->get(i0 + i, 0);
                    d.set(i0 + i, j0 + j, alpha * sums[(size_t)j * rows + i] + before);
                }
            }
        }
    }
}

} // namespace

size_t cublasLtGetVersion() { return 0; }
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
    *handle = new cublasLtContext;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description,
                                        cublasComputeType_t compute, cudaDataType_t scale) {
    if (scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    *description = new cublasLtDescription{compute};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
    delete description;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t what,
                                              const void* value, size_t bytes) {
    auto as = [&](auto& to) {
        if (bytes != sizeof to) return CUBLAS_STATUS_INVALID_VALUE;
        std::memcpy(&to, value, bytes);
        return CUBLAS_STATUS_SUCCESS;
    };
    cublasOperation_t operation = CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
    switch (what) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        status = as(operation), description->a_transposed = operation == CUBLAS_OP_T;
        break;
    case CUBLASLT_MATMUL_DESC_TRANSB:
        status = as(operation), description->b_transposed = operation == CUBLAS_OP_T;
        break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        status = as(epilogue), description->has_bias = epilogue == CUBLASLT_EPILOGUE_BIAS;
        break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        status = as(description->bias);
        break;
    }
    return status;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t leading) {
    *layout = new cublasLtLayout{type, (int)rows, (int)columns, leading};
    return leading >= (int64_t)rows ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
    *preference = new cublasLtPreference;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t what,
                                                    const void* value, size_t bytes) {
    if (what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) {
        if (bytes != sizeof preference->workspace_bytes) return CUBLAS_STATUS_INVALID_VALUE;
        std::memcpy(&preference->workspace_bytes, value, bytes);
        return CUBLAS_STATUS_SUCCESS;
    }
    if (bytes != sizeof(uint32_t)) return CUBLAS_STATUS_INVALID_VALUE;
    if (what == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES)
        std::memcpy(&preference->alignment, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

// What the library refuses, of layouts and types.
static cublasStatus_t check(cublasLtMatmulDesc_t description, cublasLtMatrixLayout_t a,
                            cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                            cublasLtMatrixLayout_t d) {
    const int m = description->a_transposed ? a->columns : a->rows;
    const int k = description->a_transposed ? a->rows : a->columns;
    const int n = description->b_transposed ? b->rows : b->columns;
    const bool sizes = (description->b_transposed ? b->columns : b->rows) == k && c->rows == m &&
                       c->columns == n && d->rows == m && d->columns == n;
    if (!sizes) return CUBLAS_STATUS_INVALID_VALUE;
    const bool types = a->type == b->type && c->type == d->type &&
                       (a->type != CUDA_R_32F || c->type == CUDA_R_32F) &&
                       description->compute == CUBLAS_COMPUTE_32F;
    return types ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int* count) {
    *count = 0;
    if (const cublasStatus_t status = check(description, a, b, c, d)) return status;
    const bool small = (int64_t)a->rows * a->columns * d->columns < 1 << 18;
    for (; *count < std::min(requested, small ? 2 : 1); ++*count)
        results[*count] = {
            {{(uint64_t)*count, preference->alignment}}, 0, CUBLAS_STATUS_SUCCESS, 1, {}};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t* result) {
    *result = {*algorithm, 0, check(description, a, b, c, d), 1, {}};
    return result->state;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t layout_a, const void* b,
                              cublasLtMatrixLayout_t layout_b, const void* beta, const void* c,
                              cublasLtMatrixLayout_t layout_c, void* d,
                              cublasLtMatrixLayout_t layout_d,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
    if (const cublasStatus_t status = check(description, layout_a, layout_b, layout_c, layout_d))
        return status;
    if (workspace_bytes &&
        (!cusim::is_device(workspace, workspace_bytes) || (uintptr_t)workspace % 256))
        return CUBLAS_STATUS_INVALID_VALUE;
    for (const void* matrix : {a, b, c, (const void*)d})
        if ((uintptr_t)matrix % algorithm->data[1])
            cusim::die("cublasLt is given a matrix that is less aligned than was promised");
    const int m = layout_d->rows, n = layout_d->columns;
    const int k = description->a_transposed ? layout_a->rows : layout_a->columns;
    auto matrix = [](const void* data, cublasLtMatrixLayout_t layout, bool transposed) {
        return Matrix{(char*)data, layout->type, layout->leading, transposed};
    };
    const Matrix ma = matrix(a, layout_a, description->a_transposed);
    const Matrix mb = matrix(b, layout_b, description->b_transposed);
    const Matrix mc = matrix(c, layout_c, false), md = matrix(d, layout_d, false);
    const Matrix bias{description->bias, layout_d->type, m};
    const bool has_bias = description->has_bias;
    if (!ma.on_device(m, k) || !mb.on_device(k, n) || !mc.on_device(m, n) || !md.on_device(m, n) ||
        (has_bias && !bias.on_device(m, 1)))
        cusim::die("cublasLt is given a matrix that does not lie in one block of device memory");
    const float al = *(const float*)alpha, be = *(const float*)beta;
    cusim::enqueue(stream, [=] {
        ma.note(cusim::note_read, m, k), mb.note(cusim::note_read, k, n);
        if (be != 0) mc.note(cusim::note_read, m, n);
        if (has_bias) bias.note(cusim::note_read, m, 1);
        gemm(m, n, k, al, ma, mb, be, mc, md, has_bias ? &bias : nullptr);
        md.note(cusim::note_written, m, n);
    });
    return CUBLAS_STATUS_SUCCESS;
}
