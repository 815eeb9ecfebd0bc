#include "ops_testing.h"

static TestTensor angles(int positions, int D, DType dtype) {
    TestTensor table = zeros({positions, D}, dtype);
    for (int p = 0; p < positions; ++p)
        for (int i = 0; i < D / 2; ++i) {
            double a = p * std::pow(100.0, -2.0 * i / D);
            table.set(p * D + i, std::cos(a)), table.set(p * D + D / 2 + i, std::sin(a));
        }
    return table;
}

TEST(rope, by_hand) {
    // position 1 turns by 90 degrees, position 0 not at all; the value head stays
    TestTensor table = values({2, 2}, {1, 0, 0, 1});
    TestTensor x = values({2, 6}, {1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6});
    cpu_ops(DType::f64).rope_forward(x, indices({0, 1}), table, 1, 1);
    expect_close(x, values({2, 6}, {1, 2, 3, 4, 5, 6, -2, 1, -4, 3, 5, 6}), 0, "x");
}

// A rotation's transpose is its inverse: <R x, y> = <x, R' y>, and R' R x = x.
TEST(rope, backward_is_transpose_and_inverse) {
    const Ops& ops = cpu_ops(DType::f64);
    const int N = 7, H = 3, K = 2, D = 10, W = (H + 2 * K) * D;
    TestTensor x = randn({N, W}, 1), y = randn({N, W}, 2), table = angles(20, D, DType::f64);
    TestTensor position = indices({0, 1, 2, 19, 5, 5, 7}), rx = clone(x), ry = clone(y);
    ops.rope_forward(rx, position, table, H, K);
    ops.rope_backward(ry, position, table, H, K);
    EXPECT_NEAR(dot(rx, y), dot(x, ry), 1e-11);
    EXPECT_FALSE(same_bits(rx, x));
    ops.rope_backward(rx, position, table, H, K);
    expect_close(rx, x, 1e-14, "back");
}

TEST(rope, rows_and_threads_do_not_change_bits) {
    const Ops& ops = cpu_ops(DType::f32);
    const int N = 99, H = 4, K = 2, D = 38, W = (H + 2 * K) * D;
    TestTensor x = randn({N, W}, 1, DType::f32), table = angles(N, D, DType::f32);
    std::vector<int32_t> list;
    for (int n = 0; n < N; ++n) list.push_back(N - 1 - n);
    TestTensor position = indices(list), x64 = to_f64(x), y = clone(x);
    ops.rope_forward(y, position, table, H, K);
    for (int n : {0, 50, 98}) {
        TestTensor all = clone(x);
        ops.rope_forward(all.view.rows(n, 1), position.view.rows(n, 1), table, H, K);
        EXPECT_TRUE(same_bits(all.view.rows(n, 1), y.view.rows(n, 1)));
    }
    expect_same_for_threads([&] {
        TestTensor out = clone(x);
        ops.rope_backward(out, position, table, H, K);
        return out;
    });
    cpu_ops(DType::f64).rope_forward(x64, position, to_f64(table), H, K);
    expect_close(y, x64, 5e-7, "y");
}

TEST(rope, errors_name_op_and_tensor) {
    const Ops& ops = cpu_ops(DType::f64);
    expect_error(
        [&] {
            ops.rope_forward(zeros({2, 6}), indices({0, 1}), zeros({4, 4}), 1, 1);
        },
        "rope_forward: qkv ");
    expect_error(
        [&] {
            ops.rope_backward(zeros({2, 6}), indices({0}), zeros({4, 2}), 1, 1);
        },
        "rope_backward: position ");
    expect_error(
        [&] {
            ops.rope_forward(zeros({2, 9}), indices({0, 1}), zeros({4, 3}), 1, 1);
        },
        "must be even");
}
