#include "ops_testing.h"

TEST(adamw, by_hand) {
    for (DType dtype : {DType::f32, DType::f64}) {
        // First step: m / (1-beta1) = g and sqrt(v / (1-beta2)) = |g|, so p moves by lr (sign g + decay p).
        TestTensor p = values({3}, {1, 2, -3}, dtype), m = zeros({3}, dtype), v = zeros({3}, dtype);
        TestTensor g = values({3}, {4, -0.5, 0}, dtype);
        cpu_ops(dtype).adamw(p, {}, m, v, g, 0.5, 0.1, 0.9, 0.99, 0, 0.01, 1);
        EXPECT_NEAR(p.get(0), 1 - 0.1 * (1 + 0.01), 1e-6);
        EXPECT_NEAR(p.get(1), 2 - 0.1 * (-1 + 0.02), 1e-6);
        EXPECT_TRUE(std::isnan(p.get(2))); // 0 / 0 without eps
        EXPECT_NEAR(m.get(0), 0.1 * 2, 1e-7);
        EXPECT_NEAR(v.get(0), 0.01 * 4, 1e-7);
    }
}

TEST(adamw, several_steps_as_written) {
    const int size = 20011;
    for (DType dtype : {DType::f32, DType::f64}) {
        TestTensor p = randn({size}, 1, dtype), m = zeros({size}, dtype), v = zeros({size}, dtype);
        TestTensor p2 = to_f64(p), m2 = zeros({size}), v2 = zeros({size});
        for (int t = 1; t <= 5; ++t) {
            TestTensor g = randn({size}, 10 + t, dtype);
            cpu_ops(dtype).adamw(p, {}, m, v, g, 0.3, 1e-2, 0.9, 0.95, 1e-8, 0.1, t);
            for (int i = 0; i < size; ++i) {
                double gi = 0.3 * g.get(i), mi = 0.9 * m2.get(i) + 0.1 * gi;
                double vi = 0.95 * v2.get(i) + 0.05 * gi * gi;
                m2.set(i, mi), v2.set(i, vi);
                double step =
                    mi / (1 - std::pow(0.9, t)) / (std::sqrt(vi / (1 - std::pow(0.95, t))) + 1e-8);
                p2.set(i, p2.get(i) - 1e-2 * (step + 0.1 * p2.get(i)));
            }
        }
        double tolerance = dtype == DType::f32 ? 1e-6 : 1e-14;
        expect_close(p, p2, tolerance, "p"), expect_close(m, m2, tolerance, "m"),
            expect_close(v, v2, tolerance, "v");
    }
}

TEST(adamw, threads_do_not_change_bits) {
    TestTensor g = randn({50021}, 2, DType::f32);
    expect_same_for_threads([&] {
        TestTensor p = randn({50021}, 1, DType::f32), m = clone(g), v = zeros({50021}, DType::f32);
        cpu_ops(DType::f32).adamw(p, {}, m, v, g, 1, 1e-2, 0.9, 0.99, 1e-8, 0.1, 3);
        return p;
    });
}

TEST(adamw, errors) {
    const Ops& ops = cpu_ops(DType::f64);
    expect_error(
        [&] { ops.adamw(zeros({3}), {}, zeros({3}), zeros({4}), zeros({3}), 1, 1, 0, 0, 0, 0, 1); },
        "adamw: v is (4)");
    expect_error(
        [&] { ops.adamw(zeros({3}), {}, zeros({3}), zeros({3}), zeros({3}), 1, 1, 0, 0, 0, 0, 0); },
        "counted from 1");
    expect_error(
        [&] {
            ops.adamw(zeros({3}), zeros({3}), zeros({3}), zeros({3}), zeros({3}), 1, 1, 0, 0, 0, 0,
                      1);
        },
        "adamw: rounded is (3)");
}

TEST(sumsq, adds_and_keeps_its_bits) {
    for (DType dtype : {DType::f32, DType::f64}) {
        TestTensor out = values({1}, {10});
        cpu_ops(dtype).sumsq(out, values({3}, {1, 2, 3}, dtype));
        EXPECT_EQ(out.get(0), 24);
        TestTensor x = randn({100003}, 1, dtype);
        expect_same_for_threads([&] {
            TestTensor sum = zeros({1});
            cpu_ops(dtype).sumsq(sum, x);
            return sum;
        });
        TestTensor sum = zeros({1});
        cpu_ops(dtype).sumsq(sum, x);
        EXPECT_TRUE(close(sum.get(0), dot(x, x), 1e-13));
        x.set(70000, NAN);
        cpu_ops(dtype).sumsq(sum, x);
        EXPECT_TRUE(std::isnan(sum.get(0)));
    }
    expect_error([] { cpu_ops(DType::f32).sumsq(zeros({1}, DType::f32), zeros({3}, DType::f32)); },
                 "sumsq: out is f32");
}
