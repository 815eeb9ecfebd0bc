#include "base/file.h"
#include "gpu_testing.h"

#include <unistd.h>

namespace {

// Products are exact in f32 for bf16 inputs; a sum of C of them has an error of about sqrt(C) roundings.
TEST(GpuLinear, ForwardAndBackward) {
    for (DType dtype : gpu_types)
        for (auto [N, O, C] : {std::array{1, 1, 1}, std::array{5, 7, 3}, std::array{33, 16, 70},
                               std::array{33, 17, 70}, std::array{300, 9, 16}})
            for (bool bias : {false, true}) {
                TestTensor x = random_in(dtype, {N, C}, 1), w = random_in(dtype, {O, C}, 2);
                TestTensor b = random_in(dtype, {O}, 3), want = zeros({N, O});
                const Ops &cpu = cpu_ops(DType::f64), &gpu = gpu_ops(dtype);
                cpu.linear_forward(want, x, {w, {}, {}}, bias ? b.view : Tensor());
                GpuTensor y(dtype, poison({N, O})), x_g(dtype, x), w_g(dtype, w), b_g(dtype, b);
                const Weight weight = {w_g, {}, {}};
                gpu.linear_forward(y, x_g, weight, bias ? b_g.view : Tensor());
                const double sums = 1e-6 * std::sqrt(C + N + O);
                expect_near(y, want, half_ulp(dtype), sums, sizes(dtype, N, O) + "y");

                TestTensor dy = random_in(dtype, {N, O}, 4), dx_given = random_in(dtype, {N, C}, 5);
                TestTensor dw_given = random_in(DType::f32, {O, C}, 6),
                           db_given = random_in(DType::f32, {O}, 7);
                TestTensor dx_want = clone(dx_given), dw_want = clone(dw_given),
                           db_want = clone(db_given);
                cpu.linear_backward(dx_want, dw_want, db_want, dy, x, {w, {}, {}});
                GpuTensor dx(dtype, dx_given), dw(DType::f32, dw_given), db(DType::f32, db_given);
                GpuTensor dy_g(dtype, dy);
                gpu.linear_backward(dx, dw, bias ? db.view : Tensor(), dy_g, x_g, weight);
                expect_near(dx, dx_want, half_ulp(dtype), sums, sizes(dtype, N, O) + "dx");
                expect_near(dw, dw_want, 1e-6, sums, sizes(dtype, N, O) + "dw");
                expect_near(db, bias ? db_want : db_given, 1e-6, sums,
                            sizes(dtype, N, O) + "dbias");
                gpu.linear_backward({}, dw, {}, dy_g, x_g, weight); // dx may be left out
            }
}

// The value head: results in f32 from bf16 weights; their gradient is rounded for the product.
TEST(GpuLinear, FewOutputsInF32) {
    const int N = 19, O = 2, C = 40;
    const DType dtype = DType::bf16;
    TestTensor x = random_in(dtype, {N, C}, 1), w = random_in(dtype, {O, C}, 2);
    TestTensor b = random_in(dtype, {O}, 3), want = zeros({N, O});
    const Ops &cpu = cpu_ops(DType::f64), &gpu = gpu_ops(dtype);
    cpu.linear_forward(want, x, {w, {}, {}}, b);
    GpuTensor y(DType::f32, poison({N, O})), x_g(dtype, x), w_g(dtype, w), b_g(dtype, b);
    gpu.linear_forward(y, x_g, {w_g, {}, {}}, b_g);
    expect_near(y, want, 1e-6, 1e-5, "y");

    TestTensor dy = random_in(DType::f32, {N, O}, 4), rounded = clone(dy);
    for (int64_t i = 0; i < dy.size(); ++i) rounded.set(i, round_to(dtype, dy.get(i)));
    TestTensor dx_want = zeros({N, C}), dw_want = zeros({O, C}), db_want = zeros({O}),
               unused = zeros({O});
    cpu.linear_backward(dx_want, dw_want, unused, rounded, x, {w, {}, {}});
    cpu.linear_backward(zeros({N, C}), zeros({O, C}), db_want, dy, x, {w, {}, {}});
    GpuTensor dx(dtype, zeros({N, C})), dw(DType::f32, zeros({O, C})), db(DType::f32, zeros({O}));
    gpu.linear_backward(dx, dw, db, GpuTensor(DType::f32, dy), x_g, {w_g, {}, {}});
    expect_near(dx, dx_want, half_ulp(dtype), 1e-6, "dx");
    expect_near(dw, dw_want, 1e-6, 1e-5, "dw");
    expect_near(db, db_want, 1e-6, 1e-5, "dbias");
}

// An algorithm is kept in the file as soon as it is chosen, taken from there, and looked for anew by another card
// or library; a file that something else has written into is an error.
TEST(GpuLinear, ChoicesAreKept) {
    const std::string path = testing::TempDir() + "gemm_choices" + std::to_string(::getpid());
    const Ops& ops = gpu_ops(DType::bf16);
    GpuTensor x(DType::bf16, random_in(DType::bf16, {24, 32}, 1)),
        w(DType::bf16, random_in(DType::bf16, {16, 32}, 2)), y(DType::bf16, zeros({24, 16}));
    GpuTensor rows(DType::bf16, zeros({23, 16}));
    auto product = [&](const GpuTensor& to) {
        ops.linear_forward(to, x.view.rows(0, to.view.shape[0]), {w, {}, {}}, {});
        return read_file(path);
    };
    gpu_keep_choices(path);
    const std::string kept = product(y);
    EXPECT_EQ(std::count(kept.begin(), kept.end(), '\n'), 2);
    EXPECT_EQ(product(rows), kept); // a size near it takes the same
    gpu_keep_choices(path);
    EXPECT_EQ(product(y), kept); // read, not chosen and written again
    write_file(path, "another card\n" + kept.substr(kept.find('\n') + 1));
    gpu_keep_choices(path);
    EXPECT_EQ(product(y).substr(0, kept.find('\n')), kept.substr(0, kept.find('\n')));
    write_file(path, kept + "what is this\n");
    gpu_keep_choices(path);
    expect_error([&] { product(y); }, "is damaged: \"what is this\"; remove it");
    gpu_keep_choices("");
}

TEST(GpuLinear, WeightsHaveNoOtherForms) {
    for (DType dtype : gpu_types) {
        const Ops& ops = gpu_ops(dtype);
        EXPECT_EQ(ops.packed_bytes(64, 64, dtype), 0u);
        GpuTensor w(dtype, zeros({3, 4})), y(dtype, zeros({2, 5})), x(dtype, zeros({2, 4}));
        ops.refresh_weight({w, {}, {}});
        expect_error([&] { ops.refresh_weight({w, w, {}}); }, "refresh_weight");
        expect_error(
            [&] {
                ops.linear_forward(y, x, {w, {}, {}}, {});
            },
            "linear_forward: y has shape (2, 5)");
    }
}

} // namespace
