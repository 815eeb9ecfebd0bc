#include "gpu_testing.h"

namespace {

std::vector<int32_t> random_list(int count, int below, uint64_t seed) {
    Rng rng(seed);
    std::vector<int32_t> list;
    for (int i = 0; i < count; ++i) list.push_back((int32_t)rng.below(below));
    return list;
}

// Rows of whole 16-byte pieces, and others. A copy is exact.
TEST(GpuEmbedding, PicksRows) {
    for (DType dtype : gpu_types)
        for (int C : {5, 16, 37, 264}) {
            const Ops& ops = gpu_ops(dtype);
            const int N = 23, V = 11;
            TestTensor w = random_in(dtype, {V, C}, 1), want = zeros({N, C});
            TestTensor ids = indices(random_list(N, V, 2));
            cpu_ops(DType::f64).embedding_forward(want, w, ids);
            GpuTensor y(dtype, poison({N, C})), z(dtype, poison({N, C}));
            ops.embedding_forward(y, GpuTensor(dtype, w), GpuTensor(dtype, ids));
            ops.gather_rows(z, GpuTensor(dtype, w, 1), GpuTensor(dtype, ids)); // misaligned
            expect_near(y, want, 0, 0, sizes(dtype, N, C) + "embedding");
            expect_near(z, want, 0, 0, sizes(dtype, N, C) + "gather");
        }
}

// Frequent ids, and more rows than are searched at once. dw is f32: sums of up to 2000 numbers.
TEST(GpuEmbedding, BackwardAddsUpEqualIds) {
    for (DType dtype : gpu_types)
        for (auto [N, C, V] :
             {std::array{37, 13, 5}, std::array{61, 24, 40}, std::array{2100, 8, 3}}) {
            const Ops& ops = gpu_ops(dtype);
            TestTensor dy = random_in(dtype, {N, C}, 1), given = random_in(DType::f32, {V, C}, 2);
            TestTensor ids = indices(random_list(N, V, 3)), want = clone(given);
            cpu_ops(DType::f64).embedding_backward(want, dy, ids);
            GpuTensor dw(DType::f32, given), again(DType::f32, given), dy_g(dtype, dy);
            ops.embedding_backward(dw, dy_g, GpuTensor(dtype, ids));
            ops.embedding_backward(again, dy_g, GpuTensor(dtype, ids));
            expect_near(dw, want, 2e-6, 2e-5, sizes(dtype, N, C) + "dw");
            EXPECT_TRUE(same_values(dw, again));
        }
}

TEST(GpuEmbedding, ScatterAddsToItsRows) {
    for (DType dtype : gpu_types)
        for (int C : {7, 32}) {
            const Ops& ops = gpu_ops(dtype);
            const int N = 13, R = 6;
            TestTensor dy = random_in(dtype, {R, C}, 1), given = random_in(dtype, {N, C}, 2);
            TestTensor rows = indices({12, 0, 7, 3, 4, 9}), want = clone(given);
            cpu_ops(DType::f64).scatter_rows(want, dy, rows);
            GpuTensor dx(dtype, given);
            ops.scatter_rows(dx, GpuTensor(dtype, dy), GpuTensor(dtype, rows));
            expect_near(dx, want, half_ulp(dtype), 0, sizes(dtype, N, C) + "dx"); // one rounding
        }
}

TEST(GpuEmbedding, ErrorsNameOpAndTensor) {
    const Ops& ops = gpu_ops(DType::bf16);
    GpuTensor w(DType::bf16, zeros({3, 4})), y(DType::bf16, zeros({2, 5}));
    GpuTensor ids(DType::i32, indices({0, 1})), wide(DType::f32, zeros({2, 4}));
    expect_error([&] { ops.embedding_forward(y, w, ids); },
                 "embedding_forward: y has shape (2, 5)");
    expect_error([&] { ops.embedding_forward(wide, w, ids); }, "y is f32, wanted bf16");
}

} // namespace
