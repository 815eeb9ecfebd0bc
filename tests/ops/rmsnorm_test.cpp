#include "ops_testing.h"

TEST(rmsnorm, by_hand) {
    const Ops& ops = cpu_ops(DType::f64);
    // s = 1 / sqrt((9 + 16) / 2)
    TestTensor x = values({1, 2}, {3, 4}), w = values({2}, {2, -1}), y = zeros({1, 2}),
               s = zeros({1});
    ops.rmsnorm_forward(y, s, x, w, 0);
    double want = std::sqrt(2.0 / 25);
    EXPECT_NEAR(s.get(0), want, 1e-15);
    EXPECT_NEAR(y.get(0), 2 * 3 * want, 1e-14);
    EXPECT_NEAR(y.get(1), -4 * want, 1e-14);
}

TEST(rmsnorm, gradient_and_accumulation) {
    const Ops& ops = cpu_ops(DType::f64);
    for (auto [N, C] : {std::pair<int, int>{3, 5}, {7, 33}, {130, 3}}) {
        TestTensor x = randn({N, C}, 1), w = randn({C}, 2), dy = randn({N, C}, 3);
        TestTensor y = zeros({N, C}), s = zeros({N});
        auto loss = [&] {
            ops.rmsnorm_forward(y, s, x, w, 1e-3);
            return dot(y, dy);
        };
        loss();
        expect_backward({{"dx", x}, {"dw", w}}, loss, [&](std::vector<TestTensor>& d) {
            ops.rmsnorm_backward(d[0], d[1], s, dy, x, w);
        });
    }
}

TEST(rmsnorm, residual_form_gives_the_same_bits) {
    for (DType dtype : {DType::f32, DType::f64}) {
        const Ops& ops = cpu_ops(dtype);
        const int N = 9, C = 77;
        TestTensor x = randn({N, C}, 1, dtype), delta = randn({N, C}, 2, dtype),
                   w = randn({C}, 3, dtype);
        TestTensor z = zeros({N, C}, dtype), y = zeros({N, C}, dtype), s = zeros({N}, dtype);
        TestTensor z2 = zeros({N, C}, dtype), y2 = zeros({N, C}, dtype), s2 = zeros({N}, dtype);
        ops.residual_rmsnorm_forward(z, y, s, x, delta, w, 1e-5);
        ops.residual_forward(z2, x, delta);
        ops.rmsnorm_forward(y2, s2, z2, w, 1e-5);
        EXPECT_TRUE(same_bits(z, z2) && same_bits(y, y2) && same_bits(s, s2));
        for (int i = 0; i < N * C; ++i) EXPECT_TRUE(close(z.get(i), x.get(i) + delta.get(i), 1e-6));
    }
}

TEST(rmsnorm, rows_and_threads_do_not_change_bits) {
    const Ops& ops = cpu_ops(DType::f32);
    const int N = 200, C = 577;
    TestTensor x = randn({N, C}, 1, DType::f32), w = randn({C}, 2, DType::f32);
    TestTensor dy = randn({N, C}, 3, DType::f32), y = zeros({N, C}, DType::f32);
    TestTensor s = zeros({N}, DType::f32), alone = zeros({1, C}, DType::f32);
    TestTensor s_alone = zeros({1}, DType::f32);
    ops.rmsnorm_forward(y, s, x, w, 1e-5);
    for (int n : {0, 1, 100, 199}) {
        ops.rmsnorm_forward(alone, s_alone, x.view.rows(n, 1), w, 1e-5);
        EXPECT_TRUE(same_bits(alone, y.view.rows(n, 1)));
    }
    expect_same_for_threads([&] {
        TestTensor out = zeros({N + 1, C}, DType::f32);
        ops.rmsnorm_backward(out.view.rows(0, N), out.view.rows(N, 1).view({C}), s, dy, x, w);
        return out;
    });
    // f64 agrees
    TestTensor y64 = zeros({N, C}), s64 = zeros({N});
    cpu_ops(DType::f64).rmsnorm_forward(y64, s64, to_f64(x), to_f64(w), 1e-5);
    expect_close(y, y64, 2e-6, "y");
}

TEST(rmsnorm, nan_reaches_its_row_only) {
    const Ops& ops = cpu_ops(DType::f32);
    TestTensor x = randn({2, 40}, 1, DType::f32), w = randn({40}, 2, DType::f32);
    TestTensor y = zeros({2, 40}, DType::f32), s = zeros({2}, DType::f32);
    x.set(3, NAN);
    ops.rmsnorm_forward(y, s, x, w, 1e-5);
    for (int c = 0; c < 40; ++c) EXPECT_TRUE(std::isnan(y.get(c)) && std::isfinite(y.get(40 + c)));
}

TEST(rmsnorm, wrong_shape_names_op_and_tensor) {
    const Ops& ops = cpu_ops(DType::f64);
    expect_error(
        [&] {
            ops.rmsnorm_forward(zeros({2, 3}), zeros({2}), zeros({2, 3}), zeros({4}), 0);
        },
        "rmsnorm_forward: w ");
    expect_error(
        [&] {
            ops.rmsnorm_backward(zeros({2, 3}), zeros({3}), zeros({2}), zeros({1, 3}),
                                 zeros({2, 3}), zeros({3}));
        },
        "rmsnorm_backward: dy ");
    expect_error(
        [&] {
            ops.rmsnorm_forward(zeros({2, 3}), zeros({2}), zeros({2, 3}), zeros({3}, DType::f32),
                                0);
        },
        "rmsnorm_forward: w is f32, wanted f64");
}
