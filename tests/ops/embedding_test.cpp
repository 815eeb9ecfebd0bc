#include "ops_testing.h"

TEST(embedding, by_hand) {
    for (DType dtype : {DType::f32, DType::f64}) {
        const Ops& ops = cpu_ops(dtype);
        TestTensor w = values({3, 2}, {1, 2, 3, 4, 5, 6}, dtype), ids = indices({2, 0, 2});
        TestTensor y = zeros({3, 2}, dtype), dw = values({3, 2}, {1, 1, 1, 1, 1, 1}, dtype);
        ops.embedding_forward(y, w, ids);
        expect_close(y, values({3, 2}, {5, 6, 1, 2, 5, 6}), 0, "y");
        ops.embedding_backward(dw, values({3, 2}, {1, 2, 3, 4, 5, 6}, dtype), ids);
        expect_close(dw, values({3, 2}, {4, 5, 1, 1, 7, 9}), 0, "dw");
    }
}

TEST(embedding, backward_is_the_transpose) {
    const Ops& ops = cpu_ops(DType::f64);
    TestTensor w = randn({7, 33}, 1), dy = randn({11, 33}, 2), y = zeros({11, 33});
    TestTensor ids = indices({0, 6, 6, 3, 3, 3, 1, 2, 0, 5, 6});
    auto loss = [&] {
        ops.embedding_forward(y, w, ids);
        return dot(y, dy);
    };
    expect_backward({{"dw", w}}, loss,
                    [&](std::vector<TestTensor>& d) { ops.embedding_backward(d[0], dy, ids); });
}

TEST(embedding, threads_do_not_change_bits) {
    const int N = 500, V = 20, C = 67;
    std::vector<int32_t> list;
    for (int n = 0; n < N; ++n) list.push_back((n * 7 + n / 3) % V);
    TestTensor dy = randn({N, C}, 1, DType::f32), ids = indices(list);
    expect_same_for_threads([&] {
        TestTensor dw = zeros({V, C}, DType::f32);
        cpu_ops(DType::f32).embedding_backward(dw, dy, ids);
        return dw;
    });
}

TEST(listed_rows, gather_and_scatter) {
    for (DType dtype : {DType::f32, DType::f64}) {
        const Ops& ops = cpu_ops(dtype);
        TestTensor x = values({3, 2}, {1, 2, 3, 4, 5, 6}, dtype), rows = indices({2, 1});
        TestTensor y = zeros({2, 2}, dtype);
        ops.gather_rows(y, x, rows);
        expect_close(y, values({2, 2}, {5, 6, 3, 4}), 0, "y");
        ops.scatter_rows(x, y, rows); // adds
        expect_close(x, values({3, 2}, {1, 2, 6, 8, 10, 12}), 0, "x");
    }
}

TEST(listed_rows, compact_moves_rows_to_the_front) {
    for (DType dtype : {DType::f32, DType::f64})
        for (int C : {1, 3, 40, 300}) {
            const int N = 200;
            TestTensor x = randn({N, C}, 3, dtype), kept = randn({N, C}, 3, dtype);
            std::vector<int32_t> rows;
            for (int n = 0; n < N; ++n)
                if (n < 5 || n % 7 > 2) rows.push_back(n);
            cpu_ops(dtype).compact_rows(x, indices(rows));
            for (size_t r = 0; r < rows.size(); ++r)
                for (int c = 0; c < C; ++c)
                    ASSERT_EQ(x.get((int64_t)r * C + c), kept.get((int64_t)rows[r] * C + c));
        }
}

TEST(listed_rows, errors_name_op_and_tensor) {
    const Ops& ops = cpu_ops(DType::f64);
    TestTensor ids = indices({0, 1});
    expect_error(
        [&] {
            ops.embedding_forward(zeros({2, 4}), zeros({9, 3}), ids);
        },
        "embedding_forward: y ");
    expect_error(
        [&] {
            ops.embedding_backward(zeros({9, 3}), zeros({3, 3}), ids);
        },
        "embedding_backward: dy ");
    expect_error(
        [&] {
            ops.gather_rows(zeros({2, 3}), zeros({4, 3}), zeros({2}));
        },
        "gather_rows: rows is f64");
    expect_error([&] { ops.scatter_rows(zeros({4, 3}), zeros({1, 3}), ids); }, "scatter_rows: dy ");
    expect_error(
        [&] {
            ops.compact_rows(zeros({4, 3}), indices({1, 1}));
        },
        "compact_rows: row 1 at 1");
    expect_error(
        [&] {
            ops.compact_rows(zeros({4, 3}), indices({0, 4}));
        },
        "compact_rows: row 4 at 1");
}
