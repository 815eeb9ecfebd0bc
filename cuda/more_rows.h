#pragma once
// Products of a weight with more rows than few_rows_kernel takes, up to 128, for models that are not wide.

#include "row_products.cuh"

namespace gpu {

constexpr int most_more_rows = 128;
// What has more outputs is work enough for cublasLt, whose tiles read x less often.
constexpr int widest_more_rows = 1024;

// Over `units` units of the weight. False where it has too many for this card, or its rows are too long.
bool more_rows_qkv(const char* op, const FewRows& in, int64_t units, const StoreQkv& finish);
bool more_rows_swiglu(const char* op, const FewRows& in, int64_t units, const StoreSwiglu& finish);
// z = x + W y, in two launches
void more_rows_residual(const char* op, bf16* z, const bf16* x, const FewRows& in, int64_t O);

} // namespace gpu
