#include "ops_testing.h"

TEST(swiglu, by_hand) {
    for (DType dtype : {DType::f32, DType::f64}) {
        TestTensor x = values({1, 4}, {0, std::log(3.0), 5, 7}, dtype), y = zeros({1, 2}, dtype);
        cpu_ops(dtype).swiglu_forward(y, x);
        EXPECT_EQ(y.get(0), 0);
        EXPECT_NEAR(y.get(1), std::log(3.0) * 0.75 * 7, 1e-6);
    }
}

TEST(swiglu, extremes) {
    const Ops& ops = cpu_ops(DType::f32);
    TestTensor x = values({1, 10}, {-200, 200, -INFINITY, NAN, 1, 1, 1, 1, 1, NAN}, DType::f32);
    TestTensor y = zeros({1, 5}, DType::f32);
    ops.swiglu_forward(y, x);
    EXPECT_NEAR(y.get(0), 0, 1e-30);
    EXPECT_EQ(y.get(1), 200);
    EXPECT_TRUE(std::isnan(y.get(2)) && std::isnan(y.get(3)) && std::isnan(y.get(4)));
}

TEST(swiglu, gradient_and_accumulation) {
    const Ops& ops = cpu_ops(DType::f64);
    for (auto [N, F] : {std::pair<int, int>{3, 5}, {7, 33}}) {
        TestTensor x = randn({N, 2 * F}, 1, DType::f64, 2), dy = randn({N, F}, 2),
                   y = zeros({N, F});
        auto loss = [&] {
            ops.swiglu_forward(y, x);
            return dot(y, dy);
        };
        expect_backward({{"dgate_up", x}}, loss,
                        [&](std::vector<TestTensor>& d) { ops.swiglu_backward(d[0], dy, x); });
    }
}

TEST(swiglu, f32_agrees_and_rows_keep_their_bits) {
    const Ops& ops = cpu_ops(DType::f32);
    const int N = 40, F = 203;
    TestTensor x = randn({N, 2 * F}, 1, DType::f32, 4), dy = randn({N, F}, 2, DType::f32);
    TestTensor y = zeros({N, F}, DType::f32), y64 = zeros({N, F}), dx64 = zeros({N, 2 * F});
    ops.swiglu_forward(y, x);
    cpu_ops(DType::f64).swiglu_forward(y64, to_f64(x));
    expect_close(y, y64, 1e-6, "y");
    TestTensor alone = zeros({1, F}, DType::f32);
    for (int n : {0, 17, 39}) {
        ops.swiglu_forward(alone, x.view.rows(n, 1));
        EXPECT_TRUE(same_bits(alone, y.view.rows(n, 1)));
    }
    auto backward = [&] {
        TestTensor dx = zeros({N, 2 * F}, DType::f32);
        ops.swiglu_backward(dx, dy, x);
        return dx;
    };
    expect_same_for_threads(backward);
    cpu_ops(DType::f64).swiglu_backward(dx64, to_f64(dy), to_f64(x));
    expect_close(backward(), dx64, 2e-6, "dx");
}

TEST(swiglu, wrong_shape_names_op_and_tensor) {
    expect_error(
        [] {
            cpu_ops(DType::f64).swiglu_forward(zeros({2, 3}), zeros({2, 5}));
        },
        "swiglu_forward: gate_up ");
    expect_error(
        [] {
            cpu_ops(DType::f64).swiglu_backward(zeros({2, 5}), zeros({2, 3}), zeros({2, 6}));
        },
        "swiglu_backward: dgate_up ");
}
