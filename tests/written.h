#pragma once
// Every backward op, once for the CPU's tables and once for a GPU's: what it writes into memory that holds
// NaN is what it adds to zeros, value for value.

#include "ops_testing.h"

// on_device(x, dtype): the tensor with x's values as the ops read it, in `dtype` (i32 stays); it has get()
// and converts to Tensor. type: of activations; wide: of statistics and weights' gradients.
template <class Device, class Values>
void expect_written_is_added_to_zeros(const Ops& ops, DType type, DType wide, Device on_device,
                                      Values values_of) {
    using Placed = decltype(on_device(zeros({1}), type));
    const int N = 37, C = 24, O = 16, F = 8, H = 2, K = 1, D = 8, width = (H + 2 * K) * D;
    auto random = [&](std::initializer_list<int64_t> shape, uint64_t seed) {
        return on_device(randn(shape, seed), type);
    };
    struct Output {
        const char* name;
        std::initializer_list<int64_t> shape;
        DType dtype;
    };
    auto check = [&](const char* op, const std::vector<Output>& outputs,
                     const std::function<void(const std::vector<Gradient>&)>& run) {
        std::vector<Placed> added, overwritten;
        std::vector<Gradient> add, write;
        for (const Output& output : outputs) {
            TestTensor nan = zeros(output.shape);
            for (int64_t i = 0; i < nan.size(); ++i) nan.set(i, NAN);
            added.push_back(on_device(zeros(output.shape), output.dtype));
            overwritten.push_back(on_device(nan, output.dtype));
        }
        for (size_t i = 0; i < outputs.size(); ++i)
            add.push_back(added[i]), write.push_back(written(overwritten[i]));
        run(add), run(write);
        for (size_t i = 0; i < outputs.size(); ++i) {
            const TestTensor want = values_of(added[i]), got = values_of(overwritten[i]);
            for (int64_t e = 0; e < want.size(); ++e)
                ASSERT_EQ(got.get(e), want.get(e)) << op << " " << outputs[i].name << " " << e;
        }
    };

    const Placed x = random({N, C}, 1), w = random({O, C}, 2), dy = random({N, O}, 3);
    check("linear_backward", {{"dx", {N, C}, type}, {"dw", {O, C}, wide}, {"dbias", {O}, wide}},
          [&](const std::vector<Gradient>& d) {
              ops.linear_backward(d[0], d[1], d[2], dy, x, {w, {}, {}});
          });

    const Placed g = random({N, C}, 4), norm = random({C}, 5), s = on_device(randn({N}, 6), wide);
    check("rmsnorm_backward", {{"dx", {N, C}, type}, {"dw", {C}, wide}},
          [&](const std::vector<Gradient>& d) { ops.rmsnorm_backward(d[0], d[1], s, g, x, norm); });

    const Placed qkv = random({N, width}, 7), dqkv = random({N, width}, 8);
    const Placed wq = random({D}, 9), wk = random({D}, 10),
                 sh = on_device(randn({N, H + K}, 11), wide);
    check("head_norm_backward", {{"dx", {N, width}, type}, {"dwq", {D}, wide}, {"dwk", {D}, wide}},
          [&](const std::vector<Gradient>& d) {
              ops.head_norm_backward(d[0], d[1], d[2], sh, dqkv, qkv, wq, wk, H, K);
          });

    const Placed gate_up = random({N, 2 * F}, 12), dact = random({N, F}, 13);
    check("swiglu_backward", {{"dgate_up", {N, 2 * F}, type}},
          [&](const std::vector<Gradient>& d) { ops.swiglu_backward(d[0], dact, gate_up); });

    // a prompt, a completion of it, and a sequence by itself
    const Placed begin = on_device(indices({0, 10, 30, N}), DType::i32);
    const Placed parent = on_device(indices({-1, 0, -1}), DType::i32);
    Ragged ragged;
    ragged.sequences = 3, ragged.max_length = 30, ragged.begin = begin, ragged.parent = parent;
    const Placed y = on_device(zeros({N, H * D}), type), lse = on_device(zeros({N, H}), wide);
    const Placed datt = random({N, H * D}, 14);
    ops.attention_forward(y, lse, qkv, ragged, H, K, 0.4);
    check("attention_backward", {{"dqkv", {N, width}, type}}, [&](const std::vector<Gradient>& d) {
        ops.attention_backward(d[0], datt, y, lse, qkv, ragged, H, K, 0.4);
    });
}
