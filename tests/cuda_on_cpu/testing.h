#pragma once
// What the tests of the engine share. They run on the stand-in only; kernels are in tests/cuda.

#include "engine.h"

#include <gtest/gtest.h>
#include <vector>

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
                   cudaStream_t stream, Arguments&&... arguments) {
    cudaLaunchConfig_t config{};
    config.gridDim = grid, config.blockDim = block;
    config.dynamicSmemBytes = shared, config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
}

// Device memory of n elements; fresh, so NaN.
template <class T> struct Device {
    T* data = nullptr;
    size_t size;
    explicit Device(size_t n) : size(n) {
        EXPECT_EQ(cudaMalloc(&data, n * sizeof(T)), cudaSuccess);
    }
    explicit Device(const std::vector<T>& values) : Device(values.size()) {
        cudaMemcpy(data, values.data(), size * sizeof(T), cudaMemcpyHostToDevice);
    }
    ~Device() { cudaFree(data); }
    Device(const Device&) = delete;
    std::vector<T> get() const {
        std::vector<T> values(size);
        cudaMemcpy(values.data(), data, size * sizeof(T), cudaMemcpyDeviceToHost);
        return values;
    }
};

// Another order of threads or streams while one lives.
template <class Order> struct Ordered {
    Order &current, before = current;
    Ordered(Order& setting, Order value) : current(setting) { current = value; }
    ~Ordered() { current = before; }
};
