#pragma once
// What the tests of ops share beyond testing.h.

#include "ops/ops.h"
#include "testing.h"

#include <cstring>
#include <omp.h>

inline TestTensor values(std::initializer_list<int64_t> shape, std::vector<double> list,
                         DType dtype = DType::f64) {
    TestTensor x(dtype, shape);
    for (int64_t i = 0; i < x.size(); ++i) x.set(i, list[i]);
    return x;
}

inline TestTensor like(const Tensor& x, DType dtype) {
    TestTensor y(dtype, {x.shape[0], x.shape[1], x.shape[2], x.shape[3]});
    void* memory = y.view.data;
    y.view = x;
    y.view.data = memory, y.view.dtype = dtype;
    return y;
}

inline TestTensor converted(const TestTensor& x, DType dtype) {
    TestTensor y = like(x, dtype);
    for (int64_t i = 0; i < x.size(); ++i) y.set(i, x.get(i));
    return y;
}
inline TestTensor to_f64(const TestTensor& x) { return converted(x, DType::f64); }

inline TestTensor clone(const TestTensor& x) {
    TestTensor y = like(x, x.view.dtype);
    std::memcpy(y.view.data, x.view.data, x.view.bytes());
    return y;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
    return a.bytes() == b.bytes() && !std::memcmp(a.data, b.data, a.bytes());
}

// Runs `backward` into gradients that already hold 1, 2, ...: what it adds must be the central
// difference of loss() by each input.
inline void expect_backward(const std::vector<std::pair<const char*, TestTensor>>& inputs,
                            const std::function<double()>& loss,
                            const std::function<void(std::vector<TestTensor>&)>& backward) {
    std::vector<TestTensor> gradients;
    for (auto& [name, x] : inputs) {
        gradients.push_back(like(x, DType::f64));
        for (int64_t i = 0; i < x.size(); ++i) gradients.back().set(i, 1 + i % 3);
    }
    backward(gradients);
    for (size_t k = 0; k < inputs.size(); ++k) {
        TestTensor& d = gradients[k];
        for (int64_t i = 0; i < d.size(); ++i) d.set(i, d.get(i) - (1 + i % 3));
        expect_gradient(inputs[k].first, inputs[k].second, d, loss);
    }
}

// 1 and 2 threads (and 3, which divides little) must give the same bits.
inline void expect_same_for_threads(const std::function<TestTensor()>& run) {
    int before = omp_get_max_threads();
    omp_set_num_threads(1);
    TestTensor one = run();
    for (int threads : {2, 3}) {
        omp_set_num_threads(threads);
        EXPECT_TRUE(same_bits(one, run())) << threads << " threads";
    }
    omp_set_num_threads(before);
}

inline void expect_error(const std::function<void()>& run, const std::string& part) {
    try {
        run();
        ADD_FAILURE() << "no error; wanted: " << part;
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
}
