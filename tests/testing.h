#pragma once
// What the tests share: random tensors, closeness that fails on NaN, the gradient check.

#include "base/rng.h"
#include "base/tensor.h"

#include <cmath>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <vector>

// Owns its memory; converts to the view that ops take.
struct TestTensor {
    std::shared_ptr<std::vector<char>> memory;
    Tensor view;
    TestTensor(DType dtype, std::initializer_list<int64_t> shape) {
        view = Tensor(nullptr, dtype, shape);
        memory = std::make_shared<std::vector<char>>(view.bytes() + 64);
        view.data = (void*)(((uintptr_t)memory->data() + 63) / 64 * 64);
    }
    operator Tensor() const { return view; }
    double get(int64_t i) const {
        return view.dtype == DType::f64 ? view.as<double>()[i] : (double)view.as<float>()[i];
    }
    void set(int64_t i, double value) {
        if (view.dtype == DType::f64)
            view.as<double>()[i] = value;
        else
            view.as<float>()[i] = (float)value;
    }
    int64_t size() const { return view.size(); }
};

inline TestTensor zeros(std::initializer_list<int64_t> shape, DType dtype = DType::f64) {
    return TestTensor(dtype, shape);
}

inline TestTensor randn(std::initializer_list<int64_t> shape, uint64_t seed,
                        DType dtype = DType::f64, double scale = 1) {
    TestTensor x(dtype, shape);
    Rng rng(seed);
    for (int64_t i = 0; i < x.size(); ++i) x.set(i, scale * rng.normal());
    return x;
}

inline TestTensor indices(std::vector<int32_t> values) {
    TestTensor x(DType::i32, {(int64_t)values.size()});
    std::copy(values.begin(), values.end(), x.view.as<int32_t>());
    return x;
}

inline double dot(const TestTensor& a, const TestTensor& b) {
    double sum = 0;
    for (int64_t i = 0; i < a.size(); ++i) sum += a.get(i) * b.get(i);
    return sum;
}

// |a - b| <= tolerance (1 + |b|), written so that NaN fails.
inline bool close(double a, double b, double tolerance) {
    return std::abs(a - b) <= tolerance * (1 + std::abs(b));
}

inline void expect_close(const TestTensor& a, const TestTensor& b, double tolerance,
                         const char* name = "") {
    ASSERT_EQ(a.size(), b.size());
    for (int64_t i = 0; i < a.size(); ++i)
        ASSERT_TRUE(close(a.get(i), b.get(i), tolerance))
            << name << "[" << i << "] = " << a.get(i) << ", wanted " << b.get(i);
}

// dx against central differences of loss() by every element of x (f64, h = 1e-5). The error is the
// largest difference relative to the largest gradient element.
inline void expect_gradient(const char* name, TestTensor x, const TestTensor& dx,
                            const std::function<double()>& loss, double tolerance = 1e-7) {
    double worst = 0, scale = 1e-3;
    const double h = 1e-5;
    for (int64_t i = 0; i < x.size(); ++i) {
        double at = x.get(i);
        x.set(i, at + h);
        double up = loss();
        x.set(i, at - h);
        double down = loss();
        x.set(i, at);
        double want = (up - down) / (2 * h);
        worst = std::isnan(want) ? NAN : std::max(worst, std::abs(dx.get(i) - want));
        scale = std::max(scale, std::abs(want));
    }
    EXPECT_TRUE(worst <= tolerance * scale) << name << ": error " << worst << " of " << scale;
}
