#pragma once
// Matrix products by cublasLt, each by the algorithm that was found fastest for its shape.

#include "context.h"

namespace gpu {

// A row-major matrix as a product reads it.
struct Matrix {
    const void* data;
    DType dtype;
    int64_t row; // elements from one row to the next
};

// c (n, m) = b (n, k) a (k, m) + bias, or with `add` c += ...; a_transposed: a is stored (m, k); likewise b.
//   addend: null, or what is added to instead of c
//   bias: (m), null for none, not together with `add`; one rounding with it
struct Product {
    Matrix c, a, b;
    int64_t m, n, k;
    bool a_transposed = false, b_transposed = false, add = false;
    const void *bias = nullptr, *addend = nullptr;
};
void multiply(const char* op, const Product& product);

} // namespace gpu
