#pragma once
// Matrix products in f32 and bf16 by oneDNN. This is the only file that knows the library.

#include "base/tensor.h"

// c = a b + bias, or c += a b.   c: (M, N) f32
struct Gemm {
    enum BForm {
        rows,       // b: (K, N)
        transposed, // b: (N, K)
        packed      // b: (N, K) in the form of gemm_pack
    };
    DType inputs = DType::f32; // f32 or bf16: of a and b
    int64_t M = 0, N = 0, K = 0;
    bool a_transposed = false; // a: (K, M) instead of (M, K)
    BForm b_form = rows;
    bool accumulate = false;
};

void gemm(const Gemm& shape, float* c, const void* a, const void* b);

// The library's blocked form of a weight (O, C), described for 64 rows and used for any number. A product with it
// is a plain one: no transposed a, no accumulation.
size_t gemm_packed_bytes(int64_t O, int64_t C, DType inputs);
// Whether only a packed weight gives a row of the product the same bits in any batch on this machine.
bool gemm_needs_packed(int64_t O, int64_t C, DType inputs);
void gemm_pack(void* packed, const void* w, int64_t O, int64_t C, DType inputs);
