// Products by cublasLt: f32 without TF32, bf16 with sums in f32, partial sums too. cublasLt is column-major: a
// row-major (N, C) is its (C, N). One stream and one workspace: the same algorithm gives the same bits.
//
// The library proposes several algorithms for a shape, the first of which was up to a quarter slower than the
// best (H200: 257 us for 194 us, Qwen2.5-0.5B's gradient of the down projection's input). So at a shape's first
// product each is timed, and the fastest is kept: for the process, and with gpu_keep_choices in a file, since
// another algorithm may add up in another order, and a run that goes on must take the one it began with.
// Sizes that lie near each other share a choice: a batch has another number of tokens at every step.

#include "gemm.h"

#include "base/file.h"

#include <bit>
#include <cublasLt.h>
#include <map>
#include <sstream>

namespace gpu {

namespace {

// What a choice holds for.
struct Shape {
    int64_t m, n, k; // rounded up to three significant bits
    bool a_transposed, b_transposed, bias;
    DType in, out;
    int alignment; // bytes, of the matrices
    auto operator<=>(const Shape&) const = default;
};

int64_t three_bits(int64_t size) {
    const int shift = std::max(0, (int)std::bit_width((uint64_t)size) - 3);
    return ((size - 1) >> shift << shift) + ((int64_t)1 << shift);
}

int alignment_of(std::initializer_list<const Matrix*> matrices) {
    uintptr_t bits = 256;
    for (const Matrix* matrix : matrices)
        bits |= (uintptr_t)matrix->data | (uintptr_t)(matrix->row * dtype_bytes(matrix->dtype));
    return 1 << std::countr_zero(bits);
}

Shape shape_of(const Product& p) {
    return {three_bits(p.m), three_bits(p.n), three_bits(p.k),
            p.a_transposed,  p.b_transposed,  p.bias != nullptr,
            p.a.dtype,       p.c.dtype,       alignment_of({&p.a, &p.b, &p.c})};
}

// The library's own type has no name of its own, which nvcc's front end does not survive in a container.
struct Algorithm {
    cublasLtMatmulAlgo_t blas;
};

cudaDataType_t blas_type(DType dtype) { return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// The library's description of a product.
struct Description {
    const char* op;
    cublasLtMatmulDesc_t product = nullptr;
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;

    Description(const char* op_, const Product& p) : op(op_) {
        check_blas(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), op);
        set(CUBLASLT_MATMUL_DESC_TRANSA, p.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(CUBLASLT_MATMUL_DESC_TRANSB, p.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
        if (p.bias) {
            set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
            set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
        }
        lay_out(a, p.a, p.a_transposed ? p.k : p.m, p.a_transposed ? p.m : p.k);
        lay_out(b, p.b, p.b_transposed ? p.n : p.k, p.b_transposed ? p.k : p.n);
        lay_out(c, p.c, p.m, p.n);
    }
    ~Description() {
        cublasLtMatrixLayoutDestroy(a), cublasLtMatrixLayoutDestroy(b);
        cublasLtMatrixLayoutDestroy(c), cublasLtMatmulDescDestroy(product);
    }
    Description(const Description&) = delete;
    template <class T> void set(cublasLtMatmulDescAttributes_t what, const T& value) {
        check_blas(cublasLtMatmulDescSetAttribute(product, what, &value, sizeof value), op);
    }
    void lay_out(cublasLtMatrixLayout_t& layout, const Matrix& x, int64_t rows, int64_t columns) {
        check_blas(cublasLtMatrixLayoutCreate(&layout, blas_type(x.dtype), rows, columns, x.row),
                   op);
    }
};

// into: where c goes; c itself, but where an algorithm is tried
cublasStatus_t run(const Description& d, const Product& p, const Algorithm& algorithm, void* into) {
    const Context& gpu = context();
    const float one = 1, beta = p.add ? 1 : 0;
    const void* before = p.addend ? p.addend : p.c.data;
    return cublasLtMatmul(gpu.blas, d.product, &one, p.a.data, d.a, p.b.data, d.b, &beta, before,
                          d.c, into, d.c, &algorithm.blas, gpu.blas_workspace, blas_workspace_bytes,
                          gpu.stream);
}

// What the library proposes, best guess first.
std::vector<Algorithm> proposals(const Description& d, const Shape& shape) {
    cublasLtMatmulPreference_t wanted = nullptr;
    check_blas(cublasLtMatmulPreferenceCreate(&wanted), d.op);
    auto set = [&](cublasLtMatmulPreferenceAttributes_t what, auto value) {
        check_blas(cublasLtMatmulPreferenceSetAttribute(wanted, what, &value, sizeof value), d.op);
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, (uint64_t)blas_workspace_bytes);
    // partial sums of split products in f32, each to a place of its own
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        (uint32_t)CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
    for (auto what :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
        set(what, (uint32_t)shape.alignment);
    constexpr int most = 8;
    cublasLtMatmulHeuristicResult_t found[most];
    int count = 0;
    check_blas(cublasLtMatmulAlgoGetHeuristic(context().blas, d.product, d.a, d.b, d.c, d.c, wanted,
                                              most, found, &count),
               d.op);
    cublasLtMatmulPreferenceDestroy(wanted);
    CHECK(count > 0, "%s: cublasLt has no algorithm for this product", d.op);
    std::vector<Algorithm> algorithms;
    for (int i = 0; i < count; ++i)
        if (found[i].state == CUBLAS_STATUS_SUCCESS) algorithms.push_back({found[i].algo});
    return algorithms;
}

// Infinity: the library does not do it, whatever it proposed.
double seconds_of(const Description& d, const Product& p, const Algorithm& algorithm, void* into) {
    const Ops& ops = gpu_ops(DType::f32);
    const int runs = (double)p.m * (double)p.n * (double)p.k > 1e10 ? 3 : 20;
    if (run(d, p, algorithm, into) != CUBLAS_STATUS_SUCCESS) return INFINITY;
    void* const start = ops.mark();
    for (int i = 0; i < runs; ++i) check_blas(run(d, p, algorithm, into), d.op);
    return ops.seconds_between(start, ops.mark());
}

Algorithm fastest(const Description& d, const Product& p, const Shape& shape) {
    const std::vector<Algorithm> algorithms = proposals(d, shape);
    if (algorithms.size() == 1) return algorithms[0];
    // A product that is written writes its own result again and again, one that adds must not.
    const Ops& ops = gpu_ops(DType::f32);
    void* const spare = p.add ? ops.alloc(p.n * p.c.row * dtype_bytes(p.c.dtype)) : nullptr;
    void* const into = p.add ? spare : const_cast<void*>(p.c.data);
    size_t best = 0;
    double least = INFINITY;
    for (size_t i = 0; into && i < algorithms.size(); ++i) // without memory to try in, the first
        if (const double seconds = seconds_of(d, p, algorithms[i], into); seconds < least)
            least = seconds, best = i;
    ops.free(spare);
    return algorithms[best];
}

// ---- what was chosen ----------------------------------------------------------------------------

struct Choices {
    std::map<Shape, Algorithm> of;
    std::string path;    // of the file that keeps them; empty: none
    bool unread = false; // the file
};
Choices& choices() {
    static thread_local Choices of_thread;
    return of_thread;
}

std::string card_and_library() {
    return gpu_info().name + ", cublasLt " + std::to_string(cublasLtGetVersion());
}

void write_choices() {
    std::ostringstream text;
    text << card_and_library() << "\n";
    for (const auto& [s, algorithm] : choices().of) {
        text << s.m << ' ' << s.n << ' ' << s.k << ' ' << s.a_transposed << s.b_transposed << s.bias
             << ' ' << (int)s.in << ' ' << (int)s.out << ' ' << s.alignment;
        for (const uint64_t word : algorithm.blas.data) text << ' ' << word;
        text << "\n";
    }
    write_file(choices().path, text.str());
}

void read_choices() {
    choices().unread = false;
    if (!file_exists(choices().path)) return;
    std::istringstream text(read_file(choices().path));
    std::string line;
    std::getline(text, line);
    if (line != card_and_library()) return; // another card's: found anew
    while (std::getline(text, line)) {
        std::istringstream words(line);
        Shape s;
        std::string flags;
        int in = 0, out = 0;
        Algorithm algorithm;
        words >> s.m >> s.n >> s.k >> flags >> in >> out >> s.alignment;
        for (uint64_t& word : algorithm.blas.data) words >> word;
        CHECK(words && flags.size() == 3, "%s is damaged: \"%s\"; remove it",
              choices().path.c_str(), line.c_str());
        s.a_transposed = flags[0] == '1', s.b_transposed = flags[1] == '1',
        s.bias = flags[2] == '1';
        s.in = (DType)in, s.out = (DType)out;
        choices().of[s] = algorithm;
    }
}

// Whether the library takes an algorithm that was found for sizes near these.
bool fits(const Description& d, const Algorithm& algorithm) {
    cublasLtMatmulHeuristicResult_t result;
    return cublasLtMatmulAlgoCheck(context().blas, d.product, d.a, d.b, d.c, d.c, &algorithm.blas,
                                   &result) == CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= blas_workspace_bytes;
}

Algorithm choose(const Description& d, const Product& p) {
    const Shape shape = shape_of(p);
    if (choices().unread) read_choices();
    const auto known = choices().of.find(shape);
    if (known != choices().of.end() && fits(d, known->second)) return known->second;
    if (known != choices().of.end() || context().recording) return proposals(d, shape)[0];
    const Algorithm algorithm = fastest(d, p, shape);
    choices().of[shape] = algorithm;
    if (!choices().path.empty()) write_choices();
    return algorithm;
}

} // namespace

void multiply(const char* op, const Product& p) {
    const Description d(op, p);
    check_blas(run(d, p, choose(d, p), const_cast<void*>(p.c.data)), op);
}

} // namespace gpu

void gpu_keep_choices(const std::string& path) {
    gpu::choices() = {.of = {}, .path = path, .unread = true};
}
