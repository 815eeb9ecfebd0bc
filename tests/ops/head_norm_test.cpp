#include "ops_testing.h"

TEST(head_norm, by_hand) {
    // one query head (3, 4), one key head (0, 2), one value head (5, 6)
    TestTensor x = values({1, 6}, {3, 4, 0, 2, 5, 6}), y = zeros({1, 6}), s = zeros({1, 2});
    cpu_ops(DType::f64)
        .head_norm_forward(y, s, x, values({2}, {1, 2}), values({2}, {3, 4}), 1, 1, 0);
    double sq = std::sqrt(2.0 / 25), sk = std::sqrt(0.5);
    expect_close(s, values({1, 2}, {sq, sk}), 1e-15, "s");
    expect_close(y, values({1, 6}, {3 * sq, 8 * sq, 0, 8 * sk, 5, 6}), 1e-15, "y");
}

TEST(head_norm, gradient_and_accumulation) {
    const Ops& ops = cpu_ops(DType::f64);
    for (auto [N, H, K, D] : {std::array<int, 4>{3, 4, 2, 5}, {67, 3, 1, 2}, {2, 2, 2, 18}}) {
        TestTensor x = randn({N, (H + 2 * K) * D}, 1), wq = randn({D}, 2), wk = randn({D}, 3);
        TestTensor dy = randn({N, (H + 2 * K) * D}, 4), y = zeros({N, (H + 2 * K) * D}),
                   s = zeros({N, H + K});
        auto loss = [&, H = H, K = K] {
            ops.head_norm_forward(y, s, x, wq, wk, H, K, 1e-3);
            return dot(y, dy);
        };
        loss();
        expect_backward({{"dx", x}, {"dwq", wq}, {"dwk", wk}}, loss,
                        [&, H = H, K = K](std::vector<TestTensor>& d) {
                            ops.head_norm_backward(d[0], d[1], d[2], s, dy, x, wq, wk, H, K);
                        });
    }
}

TEST(head_norm, rows_and_threads_do_not_change_bits) {
    const Ops& ops = cpu_ops(DType::f32);
    const int N = 150, H = 4, K = 2, D = 33, W = (H + 2 * K) * D;
    TestTensor x = randn({N, W}, 1, DType::f32), wq = randn({D}, 2, DType::f32),
               wk = randn({D}, 3, DType::f32);
    TestTensor dy = randn({N, W}, 4, DType::f32), y = zeros({N, W}, DType::f32),
               s = zeros({N, H + K}, DType::f32);
    ops.head_norm_forward(y, s, x, wq, wk, H, K, 1e-6);
    TestTensor alone = zeros({1, W}, DType::f32), s_alone = zeros({1, H + K}, DType::f32);
    for (int n : {0, 77, 149}) {
        ops.head_norm_forward(alone, s_alone, x.view.rows(n, 1), wq, wk, H, K, 1e-6);
        EXPECT_TRUE(same_bits(alone, y.view.rows(n, 1)));
    }
    expect_same_for_threads([&] {
        TestTensor out = zeros({N * W + 2 * D}, DType::f32);
        ops.head_norm_backward(out.view.rows(0, N * W).view({N, W}), out.view.rows(N * W, D),
                               out.view.rows(N * W + D, D), s, dy, x, wq, wk, H, K);
        return out;
    });
    TestTensor y64 = zeros({N, W}), s64 = zeros({N, H + K});
    cpu_ops(DType::f64).head_norm_forward(y64, s64, to_f64(x), to_f64(wq), to_f64(wk), H, K, 1e-6);
    expect_close(y, y64, 2e-6, "y");
}

TEST(head_norm, errors_name_op_and_tensor) {
    expect_error(
        [] {
            cpu_ops(DType::f64)
                .head_norm_forward(zeros({2, 8}), zeros({2, 2}), zeros({2, 8}), zeros({2}),
                                   zeros({3}), 2, 1, 0);
        },
        "head_norm_forward: s ");
    expect_error(
        [] {
            cpu_ops(DType::f64)
                .head_norm_forward(zeros({2, 8}), zeros({2, 3}), zeros({2, 8}), zeros({2}),
                                   zeros({3}), 2, 1, 0);
        },
        "head_norm_forward: wk ");
}
