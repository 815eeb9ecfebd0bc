#include "gpu_testing.h"

// Rope, SwiGLU, AdamW and the sum of squares.

namespace {

TEST(GpuRope, ForwardAndBackward) {
    for (DType dtype : gpu_types)
        for (auto [N, H, K, D] :
             {std::array{5, 2, 1, 6}, std::array{7, 3, 1, 16}, std::array{3, 1, 1, 80}}) {
            const int width = (H + 2 * K) * D;
            TestTensor x = random_in(dtype, {N, width}, 1);
            TestTensor table = random_in(DType::f32, {9, D}, 2);
            std::vector<int32_t> list;
            for (int n = 0; n < N; ++n) list.push_back(n * 5 % 9);
            TestTensor position = indices(list);
            for (bool forward : {true, false}) {
                TestTensor want = clone(x);
                GpuTensor got(dtype, x), table_g(DType::f32, table), at(dtype, position);
                if (forward) {
                    cpu_ops(DType::f64).rope_forward(want, position, table, H, K);
                    gpu_ops(dtype).rope_forward(got, at, table_g, H, K);
                } else {
                    cpu_ops(DType::f64).rope_backward(want, position, table, H, K);
                    gpu_ops(dtype).rope_backward(got, at, table_g, H, K);
                }
                // a difference of two products: f32 rounding of each, then of the result
                expect_near(got, want, half_ulp(dtype), 1e-6, sizes(dtype, N, D));
            }
        }
}

TEST(GpuSwiglu, ForwardAndBackward) {
    for (DType dtype : gpu_types)
        for (auto [N, F] : {std::array{3, 7}, std::array{5, 40}, std::array{2, 513}}) {
            TestTensor x = random_in(dtype, {N, 2 * F}, 1, 3), want = zeros({N, F});
            x.set(0, -90), x.set(1, 90); // where exp leaves the range of f32
            x.set(0, round_to(dtype, x.get(0))), x.set(1, round_to(dtype, x.get(1)));
            cpu_ops(DType::f64).swiglu_forward(want, x);
            GpuTensor y(dtype, poison({N, F})), x_g(dtype, x);
            gpu_ops(dtype).swiglu_forward(y, x_g);
            expect_near(y, want, half_ulp(dtype) + 1e-6, 1e-12, sizes(dtype, N, F) + "y");

            TestTensor dy = random_in(dtype, {N, F}, 2), given = random_in(dtype, {N, 2 * F}, 3);
            TestTensor dx_want = clone(given);
            cpu_ops(DType::f64).swiglu_backward(dx_want, dy, x);
            GpuTensor dx(dtype, given);
            gpu_ops(dtype).swiglu_backward(dx, GpuTensor(dtype, dy), x_g);
            expect_near(dx, dx_want, half_ulp(dtype) + 1e-6, 1e-6, sizes(dtype, N, F) + "dx");
        }
}

// Masters and moments in f32; the rounded weight is the master's rounding, exactly.
TEST(GpuAdamw, StepsOfMastersAndRoundedWeights) {
    for (DType dtype : gpu_types)
        for (int64_t size : {1, 8, 2053}) {
            TestTensor p = random_in(DType::f32, {size}, 1), m = zeros({size}), v = zeros({size});
            GpuTensor pg(DType::f32, p), mg(DType::f32, m), vg(DType::f32, v),
                rounded(dtype, poison({size}));
            for (int t = 1; t <= 3; ++t) {
                TestTensor g = random_in(DType::f32, {size}, 10 + t);
                cpu_ops(DType::f64).adamw(p, {}, m, v, g, 0.3, 1e-2, 0.9, 0.95, 1e-8, 0.1, t);
                gpu_ops(dtype).adamw(pg, dtype == DType::bf16 ? rounded.view : Tensor(), mg, vg,
                                     GpuTensor(DType::f32, g), 0.3, 1e-2, 0.9, 0.95, 1e-8, 0.1, t);
            }
            expect_near(pg, p, 1e-6, 1e-6, "p"), expect_near(mg, m, 1e-6, 1e-6, "m"),
                expect_near(vg, v, 1e-6, 1e-6, "v");
            if (dtype == DType::f32) continue;
            TestTensor master = pg.get();
            for (int64_t i = 0; i < size; ++i) master.set(i, round_to(dtype, master.get(i)));
            expect_near(rounded, master, 0, 0, "rounded");
        }
    GpuTensor three(DType::f32, zeros({3})), four(DType::f32, zeros({4}));
    expect_error(
        [&] { gpu_ops(DType::f32).adamw(three, {}, three, four, three, 1, 1, 0, 0, 0, 0, 1); },
        "adamw: v is (4)");
    expect_error(
        [&] { gpu_ops(DType::bf16).adamw(three, four, three, three, three, 1, 1, 0, 0, 0, 0, 1); },
        "adamw: rounded is (4)");
}

TEST(GpuAdamw, SumOfSquaresInF64) {
    for (int64_t size : {1, 7, 1000, 40003}) {
        TestTensor x = random_in(DType::f32, {size}, 1), want = values({1}, {10});
        cpu_ops(DType::f64).sumsq(want, x);
        GpuTensor out(DType::f64, zeros({1})), x_g(DType::f32, x);
        const double ten = 10;
        gpu_ops(DType::f32).upload(out, &ten);
        gpu_ops(DType::bf16).sumsq(out, x_g);
        expect_near(out, want, 1e-13, 0, "sumsq");
    }
}

} // namespace
