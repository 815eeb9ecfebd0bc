#include "gpu_testing.h"

// RMSNorm of rows (alone and after a residual sum) and of heads, and the sums of the residual stream.

namespace {

// s is f32 arithmetic over up to 1000 elements; y is rounded to the table's type once more.
TEST(GpuNorm, RmsnormForward) {
    for (DType dtype : gpu_types)
        for (auto [N, C] :
             {std::array{3, 5}, std::array{9, 64}, std::array{2, 1000}, std::array{2, 2056}}) {
            TestTensor x = random_in(dtype, {N, C}, 1), w = random_in(dtype, {C}, 2);
            TestTensor want = zeros({N, C}), want_s = zeros({N});
            cpu_ops(DType::f64).rmsnorm_forward(want, want_s, x, w, 1e-5);
            GpuTensor y(dtype, poison({N, C})), s(DType::f32, poison({N}));
            gpu_ops(dtype).rmsnorm_forward(y, s, GpuTensor(dtype, x), GpuTensor(dtype, w), 1e-5);
            expect_near(s, want_s, 1e-6, 0, sizes(dtype, N, C) + "s");
            expect_near(y, want, half_ulp(dtype) + 1e-6, 0, sizes(dtype, N, C) + "y");
        }
}

// z is rounded before it is normalised: so y has the error of a rounded input and its own.
TEST(GpuNorm, ResidualRmsnormForward) {
    for (DType dtype : gpu_types)
        for (auto [N, C] :
             {std::array{6, 7}, std::array{5, 72}, std::array{5, 1000}, std::array{3, 2056}}) {
            TestTensor x = random_in(dtype, {N, C}, 1), delta = random_in(dtype, {N, C}, 2);
            TestTensor w = random_in(dtype, {C}, 3);
            TestTensor z_want = zeros({N, C}), y_want = zeros({N, C}), s_want = zeros({N});
            cpu_ops(DType::f64).residual_rmsnorm_forward(z_want, y_want, s_want, x, delta, w, 1e-6);
            GpuTensor z(dtype, poison({N, C})), y(dtype, poison({N, C})),
                s(DType::f32, poison({N}));
            gpu_ops(dtype).residual_rmsnorm_forward(
                z, y, s, GpuTensor(dtype, x), GpuTensor(dtype, delta), GpuTensor(dtype, w), 1e-6);
            const double ulp = half_ulp(dtype);
            expect_near(z, z_want, ulp, 0, sizes(dtype, N, C) + "z");
            expect_near(s, s_want, 2 * ulp + 1e-6, 0, sizes(dtype, N, C) + "s");
            expect_near(y, y_want, 4 * ulp + 1e-6, 0, sizes(dtype, N, C) + "y");
        }
}

// dx: a few f32 roundings of numbers up to 10, then one with what was there. dw: f32 sums over the rows.
TEST(GpuNorm, RmsnormBackward) {
    for (DType dtype : gpu_types)
        for (auto [N, C] : {std::array{1, 3}, std::array{13, 21}, std::array{19, 64},
                            std::array{2100, 8}, std::array{3, 2056}}) {
            TestTensor x = random_in(dtype, {N, C}, 1), w = random_in(dtype, {C}, 2);
            TestTensor dy = random_in(dtype, {N, C}, 3), y = zeros({N, C}), s = zeros({N});
            TestTensor dx_given = random_in(dtype, {N, C}, 4);
            TestTensor dw_given = random_in(DType::f32, {C}, 5);
            const Ops& cpu = cpu_ops(DType::f64);
            cpu.rmsnorm_forward(y, s, x, w, 1e-5);
            TestTensor dx_want = clone(dx_given), dw_want = clone(dw_given);
            cpu.rmsnorm_backward(dx_want, dw_want, s, dy, x, w);
            GpuTensor dx(dtype, dx_given), dw(DType::f32, dw_given), again(DType::f32, dw_given);
            GpuTensor s_g(DType::f32, s), dy_g(dtype, dy), x_g(dtype, x), w_g(dtype, w);
            gpu_ops(dtype).rmsnorm_backward(dx, dw, s_g, dy_g, x_g, w_g);
            expect_near(dx, dx_want, half_ulp(dtype), 2e-6, sizes(dtype, N, C) + "dx");
            expect_near(dw, dw_want, 1e-6, 1e-6 * std::sqrt(N), sizes(dtype, N, C) + "dw");
            gpu_ops(dtype).rmsnorm_backward(GpuTensor(dtype, dx_given), again, s_g, dy_g, x_g, w_g);
            EXPECT_TRUE(same_values(dw, again));
        }
}

TEST(GpuNorm, ResidualAndAdd) {
    for (DType dtype : gpu_types)
        for (int64_t C : {1, 7, 600}) { // with and without a rest behind the last full vector
            const int64_t N = 5;
            TestTensor x = random_in(dtype, {N, C}, 1), delta = random_in(dtype, {N, C}, 2);
            TestTensor want = zeros({N, C});
            cpu_ops(DType::f64).residual_forward(want, x, delta);
            GpuTensor z(dtype, poison({N, C})), to(dtype, x), odd(dtype, x, 1);
            gpu_ops(dtype).residual_forward(z, GpuTensor(dtype, x), GpuTensor(dtype, delta));
            gpu_ops(dtype).add(to, GpuTensor(dtype, delta));
            gpu_ops(dtype).add(odd, GpuTensor(dtype, delta));
            for (const GpuTensor* sum : {&z, &to, &odd})
                expect_near(*sum, want, half_ulp(dtype), 0, sizes(dtype, N, C));
        }
}

// Heads of odd width, of one vector, of a number of vectors that is no power of two.
TEST(GpuNorm, HeadNorm) {
    for (DType dtype : gpu_types)
        for (auto [N, H, K, D] :
             {std::array{3, 2, 1, 5}, std::array{7, 3, 1, 8}, std::array{5, 4, 2, 24},
              std::array{3, 2, 2, 128}, std::array{2, 1, 1, 256}, std::array{300, 1, 1, 3}}) {
            const int width = (H + 2 * K) * D;
            const Ops& cpu = cpu_ops(DType::f64);
            TestTensor x = random_in(dtype, {N, width}, 1), wq = random_in(dtype, {D}, 2),
                       wk = random_in(dtype, {D}, 3);
            TestTensor y_want = zeros({N, width}), s_want = zeros({N, H + K});
            cpu.head_norm_forward(y_want, s_want, x, wq, wk, H, K, 1e-6);
            GpuTensor y(dtype, poison({N, width})), s(DType::f32, poison({N, H + K}));
            GpuTensor x_g(dtype, x), wq_g(dtype, wq), wk_g(dtype, wk);
            gpu_ops(dtype).head_norm_forward(y, s, x_g, wq_g, wk_g, H, K, 1e-6);
            expect_near(s, s_want, 1e-6, 0, sizes(dtype, N, D) + "s");
            expect_near(y, y_want, half_ulp(dtype) + 1e-6, 0, sizes(dtype, N, D) + "y");

            TestTensor dy = random_in(dtype, {N, width}, 4),
                       given = random_in(dtype, {N, width}, 5);
            TestTensor gq = random_in(DType::f32, {D}, 6), gk = random_in(DType::f32, {D}, 7);
            TestTensor dx_want = clone(given), dq_want = clone(gq), dk_want = clone(gk);
            cpu.head_norm_backward(dx_want, dq_want, dk_want, s_want, dy, x, wq, wk, H, K);
            GpuTensor dx(dtype, given), dwq(DType::f32, gq), dwk(DType::f32, gk);
            gpu_ops(dtype).head_norm_backward(dx, dwq, dwk, GpuTensor(DType::f32, s_want),
                                              GpuTensor(dtype, dy), x_g, wq_g, wk_g, H, K);
            expect_near(dx, dx_want, half_ulp(dtype), 3e-6, sizes(dtype, N, D) + "dx");
            expect_near(dwq, dq_want, 1e-6, 1e-6 * std::sqrt(N * H), sizes(dtype, N, D) + "dwq");
            expect_near(dwk, dk_want, 1e-6, 1e-6 * std::sqrt(N * K), sizes(dtype, N, D) + "dwk");
        }
    GpuTensor w(DType::f32, zeros({264})), x(DType::f32, zeros({1, 3 * 264}));
    GpuTensor s(DType::f32, zeros({1, 2}));
    expect_error([&] { gpu_ops(DType::f32).head_norm_forward(x, s, x, w, w, 1, 1, 1e-6); },
                 "heads are 264 wide; this backend takes up to 256");
}

} // namespace
