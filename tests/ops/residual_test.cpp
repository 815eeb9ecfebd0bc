#include "ops_testing.h"

TEST(residual, sums) {
    for (DType dtype : {DType::f32, DType::f64}) {
        const Ops& ops = cpu_ops(dtype);
        TestTensor x = randn({130, 133}, 1, dtype), delta = randn({130, 133}, 2, dtype);
        TestTensor z = zeros({130, 133}, dtype), dx = clone(x);
        ops.residual_forward(z, x, delta);
        ops.add(dx, delta);
        for (int64_t i = 0; i < x.size(); ++i)
            ASSERT_EQ(z.get(i), dtype == DType::f32 ? (float)x.get(i) + (float)delta.get(i)
                                                    : x.get(i) + delta.get(i));
        EXPECT_TRUE(same_bits(z, dx));
    }
}

TEST(residual, nan_passes) {
    TestTensor x = values({1, 2}, {NAN, 1}), z = zeros({1, 2});
    cpu_ops(DType::f64).residual_forward(z, x, values({1, 2}, {1, 1}));
    EXPECT_TRUE(std::isnan(z.get(0)));
    EXPECT_EQ(z.get(1), 2);
}

TEST(residual, errors_name_op_and_tensor) {
    const Ops& ops = cpu_ops(DType::f64);
    expect_error(
        [&] {
            ops.residual_forward(zeros({2, 3}), zeros({2, 3}), zeros({3, 2}));
        },
        "residual_forward: delta ");
    expect_error([&] { ops.add(zeros({2, 3}), zeros({2, 4})); }, "add: dx is (2, 3)");
}
