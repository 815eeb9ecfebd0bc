#include "gpu_testing.h"
#include "written.h"

TEST(GpuOps, WhatBackwardWritesIsWhatItAddsToZeros) {
    for (DType dtype : gpu_types)
        expect_written_is_added_to_zeros(
            gpu_ops(dtype), dtype, DType::f32,
            [](const TestTensor& x, DType to) { return GpuTensor(to, x); },
            [](const GpuTensor& x) { return x.get(); });
}
