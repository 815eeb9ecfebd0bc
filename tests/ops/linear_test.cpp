#include "ops/gemm.h"
#include "ops_testing.h"

// A weight in every form that the table's GEMMs read.
struct TestWeight {
    TestTensor w, copy, packed;
    bool has_copy = false, has_packed = false;
    TestWeight(const Ops& ops, TestTensor w_, DType gemm, bool pack)
        : w(w_), copy(DType::bf16, {w.view.shape[0], w.view.shape[1]}),
          packed(DType::u8,
                 {(int64_t)(pack ? ops.packed_bytes(w.view.shape[0], w.view.shape[1], gemm) : 0)}),
          has_copy(gemm == DType::bf16), has_packed(pack) {
        ops.refresh_weight(*this);
    }
    operator Weight() const {
        return {w, has_copy ? copy.view : Tensor(), has_packed ? packed.view : Tensor()};
    }
};

static float rounded_to_bf16(double value) {
    float f = (float)value;
    uint32_t u;
    std::memcpy(&u, &f, 4);
    u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000;
    std::memcpy(&f, &u, 4);
    return f;
}

TEST(linear, by_hand) {
    for (DType dtype : {DType::f32, DType::f64}) {
        const Ops& ops = cpu_ops(dtype);
        TestTensor x = values({1, 2}, {1, 2}, dtype), w = values({3, 2}, {1, 0, 0, 1, 3, 4}, dtype);
        TestTensor bias = values({3}, {10, 20, 30}, dtype), y = zeros({1, 3}, dtype);
        ops.linear_forward(y, x, {w, {}, {}}, bias);
        expect_close(y, values({1, 3}, {11, 22, 41}), 0, "y");
    }
}

TEST(linear, gradient_and_accumulation) {
    const Ops& ops = cpu_ops(DType::f64);
    const int N = 7, C = 5, O = 33;
    TestTensor x = randn({N, C}, 1), w = randn({O, C}, 2), bias = randn({O}, 3),
               dy = randn({N, O}, 4);
    TestTensor y = zeros({N, O});
    Weight weight = {w, {}, {}};
    auto loss = [&] {
        ops.linear_forward(y, x, weight, bias);
        return dot(y, dy);
    };
    expect_backward({{"dx", x}, {"dw", w}, {"dbias", bias}}, loss, [&](std::vector<TestTensor>& d) {
        ops.linear_backward(d[0], d[1], d[2], dy, x, weight);
    });
    expect_backward({{"dw", w}}, loss, [&](std::vector<TestTensor>& d) {
        ops.linear_backward({}, d[0], {}, dy, x, weight);
    });
}

// f32 and bf16 against f64 products of the (rounded) inputs: what is left is the rounding of sums in f32.
TEST(linear, f32_and_bf16_are_f64_of_the_rounded_inputs) {
    const Ops& exact = cpu_ops(DType::f64);
    for (DType gemm : {DType::f32, DType::bf16})
        for (auto [N, C, O] : {std::array<int, 3>{1, 33, 7}, {5, 70, 45}, {300, 64, 96}})
            for (bool pack : {false, true}) {
                const Ops& ops = cpu_ops(DType::f32, gemm);
                TestTensor x = randn({N, C}, 1, DType::f32), dy = randn({N, O}, 2, DType::f32);
                TestTensor bias = randn({O}, 3, DType::f32);
                TestWeight weight(ops, randn({O, C}, 4, DType::f32), gemm, pack);
                TestTensor y = zeros({N, O}, DType::f32), dx = zeros({N, C}, DType::f32);
                TestTensor dw = zeros({O, C}, DType::f32), dbias = zeros({O}, DType::f32);
                dx.set(0, 3), dw.set(0, 4), dbias.set(0, 5); // added to
                ops.linear_forward(y, x, weight, bias);
                ops.linear_backward(dx, dw, dbias, dy, x, weight);

                auto in = [&](const TestTensor& t) {
                    TestTensor d = to_f64(t);
                    if (gemm == DType::bf16)
                        for (int64_t i = 0; i < d.size(); ++i) d.set(i, rounded_to_bf16(d.get(i)));
                    return d;
                };
                TestTensor x64 = in(x), w64 = in(weight.w), dy64 = in(dy), y64 = zeros({N, O});
                TestTensor dx64 = zeros({N, C}), dw64 = zeros({O, C}), dbias64 = zeros({O});
                dx64.set(0, 3), dw64.set(0, 4), dbias64.set(0, 5);
                exact.linear_forward(y64, x64, {w64, {}, {}}, to_f64(bias));
                exact.linear_backward(dx64, dw64, {}, dy64, x64, {w64, {}, {}});
                exact.linear_backward({}, {}, dbias64, to_f64(dy), x64, {w64, {}, {}});
                expect_close(y, y64, 2e-5, "y");
                expect_close(dx, dx64, 2e-5, "dx");
                expect_close(dw, dw64, 2e-5, "dw");
                expect_close(dbias, dbias64, 2e-5, "dbias"); // never rounded to bf16
            }
}

TEST(linear, rounding_to_bf16) {
    const Ops& ops = cpu_ops(DType::f32, DType::bf16);
    // halfway down to even, halfway up to even, just above halfway, infinity, NaN with low bits only
    float low_nan;
    uint32_t bits = 0x7f800001;
    std::memcpy(&low_nan, &bits, 4);
    std::vector<float> in = {1 + 0x1p-8f, 1 + 0x3p-8f, 1 + 0x1p-8f + 0x1p-20f, INFINITY, 3.4e38f};
    std::vector<uint16_t> want = {0x3f80, 0x3f82, 0x3f81, 0x7f80, 0x7f80};
    TestTensor w(DType::f32, {1, 6});
    std::copy(in.begin(), in.end(), w.view.as<float>());
    w.view.as<float>()[5] = low_nan;
    TestWeight weight(ops, w, DType::bf16, false);
    const uint16_t* got = static_cast<const uint16_t*>(weight.copy.view.data);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(got[i], want[i]) << i;
    EXPECT_EQ(got[5] & 0x7f80, 0x7f80);
    EXPECT_NE(got[5] & 0x7f, 0);
}

TEST(linear, threads_do_not_change_bits) {
    bool skipped = false;
    for (DType gemm : {DType::f32, DType::bf16, DType::f64}) {
        const DType dtype = gemm == DType::f64 ? DType::f64 : DType::f32;
        const Ops& ops = cpu_ops(dtype, gemm);
        const int N = 257, C = 65, O = 90;
        TestTensor x = randn({N, C}, 1, dtype), dy = randn({N, O}, 2, dtype);
        TestWeight weight(ops, randn({O, C}, 3, dtype), gemm, false);
        // Without AVX-512 the library shares out the sums of its matrix product, which backward uses.
        const bool shared_out = gemm != DType::f64 && gemm_needs_packed(O, C, gemm);
        skipped = skipped || shared_out;
        if (!shared_out) {
            expect_same_for_threads([&] {
                TestTensor dx = zeros({N, C}, dtype);
                ops.linear_backward(dx, {}, {}, dy, x, weight);
                return dx;
            });
            expect_same_for_threads([&] {
                TestTensor dw = zeros({O, C}, dtype);
                ops.linear_backward({}, dw, {}, dy, x, weight);
                return dw;
            });
        }
        expect_same_for_threads([&] {
            TestTensor dbias = zeros({O}, dtype);
            ops.linear_backward({}, {}, dbias, dy, x, weight);
            return dbias;
        });
        expect_same_for_threads([&] {
            TestTensor y = zeros({N, O}, dtype);
            ops.linear_forward(y, x, weight, {});
            return y;
        });
    }
    if (skipped)
        GTEST_SKIP() << "bits of oneDNN's backward products depend on the threads on this chip; "
                        "all else was checked";
}

// SmolLM2-135M's products, and others: a row alone, packed or not, has the bits that it has among others.
TEST(linear, batch_invariance) {
    std::string broken;
    for (DType gemm : {DType::f32, DType::bf16}) {
        const Ops& ops = cpu_ops(DType::f32, gemm);
        double gap = 0;
        for (auto [O, C] : {std::pair<int, int>{960, 576},
                            {3072, 576},
                            {576, 1536},
                            {37, 15},
                            {128, 352},
                            {896, 4864},
                            {1153, 896}}) {
            const int N = 260;
            TestTensor x = randn({N, C}, 1, DType::f32), w = randn({O, C}, 2, DType::f32, 0.05);
            TestWeight plain(ops, w, gemm, false), packed(ops, w, gemm, true);
            TestTensor all = zeros({N, O}, DType::f32), part = zeros({N, O}, DType::f32);
            ops.linear_forward(all, x, plain, {});
            for (int count : {1, 2, 5, 33, 255})
                for (const TestWeight& form : {plain, packed}) {
                    Tensor y = part.view.rows(0, count);
                    ops.linear_forward(y, x.view.rows(3, count), form, {});
                    for (int64_t i = 0; i < count * O; ++i)
                        gap = std::max(gap, std::abs(part.get(i) - all.get(3 * O + i)));
                }
        }
        EXPECT_LT(gap, gemm == DType::bf16 ? 0.1 : 1e-3) << dtype_name(gemm); // rounding at most
        const bool invariant = cpu_gemm_is_batch_invariant(gemm);
        if (invariant) {
            EXPECT_EQ(gap, 0) << dtype_name(gemm);
            continue;
        }
        // ONEDNN_MAX_CPU_ISA keeps the library from using what the chip has.
        const bool native = (gemm == DType::bf16 ? __builtin_cpu_supports("avx512bf16")
                                                 : __builtin_cpu_supports("avx512f")) ||
                            gemm_needs_packed(960, 576, gemm);
        EXPECT_TRUE(!native || getenv("ONEDNN_MAX_CPU_ISA")) << dtype_name(gemm) << " gap " << gap;
        broken += format(" %s: %.1e", dtype_name(gemm), gap);
    }
    if (!broken.empty())
        GTEST_SKIP() << "a row's bits depend on the batch in oneDNN's GEMMs on this chip; gap of"
                     << broken;
}

TEST(linear, errors_name_op_and_tensor) {
    const Ops& ops = cpu_ops(DType::f64);
    TestTensor w = zeros({4, 3});
    expect_error(
        [&] {
            ops.linear_forward(zeros({2, 5}), zeros({2, 3}), {w, {}, {}}, {});
        },
        "linear_forward: y ");
    expect_error(
        [&] {
            ops.linear_forward(zeros({2, 4}), zeros({2, 2}), {w, {}, {}}, {});
        },
        "linear_forward: w ");
    expect_error(
        [&] {
            ops.linear_backward({}, zeros({3, 4}), {}, zeros({2, 4}), zeros({2, 3}), {w, {}, {}});
        },
        "linear_backward: dw ");
    TestTensor w32 = zeros({4, 3}, DType::f32);
    expect_error(
        [&] {
            cpu_ops(DType::f32, DType::bf16)
                .linear_forward(zeros({2, 4}, DType::f32), zeros({2, 3}, DType::f32), {w32, {}, {}},
                                {});
        },
        "linear_forward: w.copy ");
    expect_error([&] { cpu_ops(DType::f64, DType::bf16); }, "bf16");
}
