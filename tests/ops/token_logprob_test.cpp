#include "ops_testing.h"

TEST(token_logprob, by_hand) {
    for (DType dtype : {DType::f32, DType::f64}) {
        // p = (1/4, 3/4) at temperature 1; at 1/2: (1/10, 9/10)
        TestTensor z = values({1, 2}, {0, std::log(3.0)}, dtype);
        TestTensor logp = zeros({1}, dtype), entropy = zeros({1}, dtype), lse = zeros({1}, dtype);
        TestTensor target = indices({1});
        cpu_ops(dtype).token_logprob_forward(logp, entropy, lse, z, target, 1);
        EXPECT_NEAR(logp.get(0), std::log(0.75), 1e-6);
        EXPECT_NEAR(lse.get(0), std::log(4.0), 1e-6);
        EXPECT_NEAR(entropy.get(0), -0.25 * std::log(0.25) - 0.75 * std::log(0.75), 1e-6);
        cpu_ops(dtype).token_logprob_forward(logp, {}, lse, z, target, 0.5);
        EXPECT_NEAR(logp.get(0), std::log(0.9), 1e-6);
    }
}

TEST(token_logprob, gradient) {
    const Ops& ops = cpu_ops(DType::f64);
    for (double temperature : {1.0, 0.7}) {
        const int R = 5, V = 33;
        TestTensor z = randn({R, V}, 1, DType::f64, 2), dlogp = randn({R}, 2),
                   dentropy = randn({R}, 3);
        dentropy.set(2, 0); // both sides of the shortcut
        TestTensor logp = zeros({R}), entropy = zeros({R}), lse = zeros({R});
        TestTensor target = indices({0, 32, 7, 31, 16});
        for (bool with_entropy : {false, true}) {
            auto loss = [&] {
                ops.token_logprob_forward(logp, entropy, lse, z, target, temperature);
                return dot(logp, dlogp) + (with_entropy ? dot(entropy, dentropy) : 0);
            };
            loss();
            TestTensor dz = clone(z);
            ops.token_logprob_backward(dz, dlogp, with_entropy ? dentropy.view : Tensor(),
                                       with_entropy ? entropy.view : Tensor(), lse, target,
                                       temperature);
            expect_gradient("dz", z, dz, loss);
        }
    }
}

TEST(token_logprob, wide_rows_are_exact_to_1e_6) {
    const int R = 3, V = 150001;
    TestTensor z = randn({R, V}, 1, DType::f32, 3), target = indices({0, V - 1, 777});
    for (double temperature : {1.0, 0.6}) {
        TestTensor logp = zeros({R}, DType::f32), entropy = zeros({R}, DType::f32),
                   lse = zeros({R}, DType::f32);
        TestTensor logp64 = zeros({R}), entropy64 = zeros({R}), lse64 = zeros({R});
        cpu_ops(DType::f32).token_logprob_forward(logp, entropy, lse, z, target, temperature);
        cpu_ops(DType::f64)
            .token_logprob_forward(logp64, entropy64, lse64, to_f64(z), target, temperature);
        // 1e-6 absolute of the log is 1e-6 relative of the sum; rounding lse ~ 25 to f32 takes 1e-6 more
        for (int r = 0; r < R; ++r) {
            EXPECT_NEAR(lse.get(r), lse64.get(r), 3e-6);
            EXPECT_NEAR(logp.get(r), logp64.get(r), 3e-6);
            EXPECT_NEAR(entropy.get(r), entropy64.get(r), 1e-5);
        }
        TestTensor dlogp = values({R}, {1, -2, 0.5}, DType::f32),
                   dentropy = values({R}, {0, 0.1, -0.2}, DType::f32);
        TestTensor dz = clone(z), dz64 = to_f64(z);
        cpu_ops(DType::f32)
            .token_logprob_backward(dz, dlogp, dentropy, entropy, lse, target, temperature);
        cpu_ops(DType::f64)
            .token_logprob_backward(dz64, to_f64(dlogp), to_f64(dentropy), entropy64, lse64, target,
                                    temperature);
        expect_close(dz, dz64, 1e-6, "dz");
    }
}

TEST(token_logprob, rows_and_threads_do_not_change_bits) {
    const Ops& ops = cpu_ops(DType::f32);
    const int R = 9, V = 5003;
    TestTensor z = randn({R, V}, 1, DType::f32, 3),
               target = indices({0, 1, 2, 3, 4, 5, 6, 7, 5002});
    auto forward = [&] {
        TestTensor out = zeros({3, R}, DType::f32);
        ops.token_logprob_forward(out.view.rows(0, 1).view({R}), out.view.rows(1, 1).view({R}),
                                  out.view.rows(2, 1).view({R}), z, target, 0.9);
        return out;
    };
    expect_same_for_threads(forward);
    TestTensor all = forward(), logp = zeros({1}, DType::f32), lse = zeros({1}, DType::f32);
    for (int r : {0, 5, 8}) { // also without the entropy
        ops.token_logprob_forward(logp, {}, lse, z.view.rows(r, 1), target.view.rows(r, 1), 0.9);
        EXPECT_EQ(logp.get(0), all.get(r));
        EXPECT_EQ(lse.get(0), all.get(2 * R + r));
    }
}

TEST(token_logprob, infinities_and_nan) {
    for (DType dtype : {DType::f32, DType::f64}) {
        const Ops& ops = cpu_ops(dtype);
        TestTensor z = values({2, 3}, {0, -INFINITY, 0, 0, NAN, 0}, dtype),
                   target = indices({0, 0});
        TestTensor logp = zeros({2}, dtype), entropy = zeros({2}, dtype), lse = zeros({2}, dtype);
        ops.token_logprob_forward(logp, entropy, lse, z, target, 1);
        EXPECT_NEAR(logp.get(0), -std::log(2.0), 1e-6);
        EXPECT_NEAR(entropy.get(0), std::log(2.0), 1e-6);
        EXPECT_TRUE(std::isnan(logp.get(1)) && std::isnan(entropy.get(1)));
        TestTensor d = values({2}, {1, 1}, dtype);
        ops.token_logprob_backward(z, d, d, entropy, lse, target, 1);
        EXPECT_NEAR(z.get(0), 0.5, 1e-6);
        EXPECT_EQ(z.get(1), 0);
        EXPECT_TRUE(std::isnan(z.get(4)));
    }
}

TEST(token_logprob, errors_name_op_and_tensor) {
    const Ops& ops = cpu_ops(DType::f64);
    expect_error(
        [&] {
            ops.token_logprob_forward(zeros({2}), {}, zeros({3}), zeros({2, 4}), indices({0, 0}),
                                      1);
        },
        "token_logprob_forward: lse ");
    expect_error(
        [&] {
            ops.token_logprob_forward(zeros({2}), {}, zeros({2}), zeros({2, 4}), indices({0, 0}),
                                      0);
        },
        "temperature must be above 0");
}
