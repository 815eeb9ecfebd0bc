#include "base/clock.h"
#include "gpu_testing.h"
#include "ops/timed.h"
#include "written.h"

TEST(GpuOps, WhatBackwardWritesIsWhatItAddsToZeros) {
    for (DType dtype : gpu_types)
        expect_written_is_added_to_zeros(
            gpu_ops(dtype), dtype, DType::f32,
            [](const TestTensor& x, DType to) { return GpuTensor(to, x); },
            [](const GpuTensor& x) { return x.get(); });
}

// What a table that times ops says of launched ones: time on the device, more of it for more work, and no more
// than passed.
TEST(GpuOps, LaunchedOpsAreTimedBetweenMarks) {
    const Ops& timed = timed_ops(gpu_ops(DType::f32));
    reset_op_records();
    GpuTensor x(DType::f32, zeros({400, 1000})), y(DType::f32, zeros({400, 1000}));
    const double start = now();
    for (int i = 0; i < 3; ++i) timed.add(x, y);
    timed.wait();
    const double passed = now() - start;
    const std::vector<OpRecord> records = op_records();
    ASSERT_EQ(records.size(), 1u);
    EXPECT_EQ(records[0].calls, 3);
    EXPECT_GT(records[0].seconds, 0);
    EXPECT_LE(records[0].seconds, passed);
    reset_op_records();
    EXPECT_TRUE(op_records().empty());
}
