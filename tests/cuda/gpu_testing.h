#pragma once
// What the tests of the GPU ops share. Every op runs on the device in f32 and in bf16 and is compared with
// cpu_ops(f64) on the same inputs, rounded to what the device reads. Outputs are NaN before, and backward
// adds to values that are there. The same source runs on a GPU and on the stand-in runtime.

#include "base/half.h"
#include "ops/gpu.h"
#include "ops_testing.h"

// The largest error of rounding to nearest, of the value: 8 significant bits in bf16, 24 in f32.
inline double half_ulp(DType dtype) { return dtype == DType::bf16 ? 0x1p-8 : 0x1p-24; }

inline double round_to(DType dtype, double x) {
    return dtype == DType::bf16 ? bf16_to_float(float_to_bf16((float)x)) : (double)(float)x;
}

// Skips a test of more ranks than there are GPUs: a rank without one would leave the others waiting.
#define NEEDS_GPUS(count)                                                                          \
    if (gpu_count() < (count))                                                                     \
    GTEST_SKIP() << "needs " << (count) << " GPUs, there are " << gpu_count()

// A tensor on the device with the values of a host tensor; `get` brings them back as f64.
struct GpuTensor {
    std::shared_ptr<void> memory;
    Tensor view;

    GpuTensor(DType dtype, const TestTensor& values, int64_t elements_before = 0) {
        const Ops& ops = gpu_ops(DType::f32);
        view = values.view;
        if (values.view.dtype != DType::i32) view.dtype = dtype;
        const size_t before = elements_before * dtype_bytes(view.dtype);
        memory = std::shared_ptr<void>(ops.alloc(before + view.bytes()), ops.free);
        view.data = (char*)memory.get() + before;
        if (view.dtype == DType::bf16) {
            std::vector<uint16_t> bits(values.size());
            for (int64_t i = 0; i < values.size(); ++i)
                bits[i] = float_to_bf16((float)values.get(i));
            ops.upload(view, bits.data());
        } else if (view.dtype == DType::f32) {
            std::vector<float> bits(values.size());
            for (int64_t i = 0; i < values.size(); ++i) bits[i] = (float)values.get(i);
            ops.upload(view, bits.data());
        } else {
            ops.upload(view, values.view.data);
        }
    }
    operator Tensor() const { return view; }

    TestTensor get() const {
        const Ops& ops = gpu_ops(DType::f32);
        TestTensor values = like(view, view.dtype == DType::i32 ? DType::i32 : DType::f64);
        std::vector<char> bits(view.bytes());
        ops.download(bits.data(), view);
        for (int64_t i = 0; i < view.size(); ++i) {
            if (view.dtype == DType::bf16)
                values.set(i, bf16_to_float(((uint16_t*)bits.data())[i]));
            else if (view.dtype == DType::f32)
                values.set(i, ((float*)bits.data())[i]);
            else if (view.dtype == DType::f64)
                values.set(i, ((double*)bits.data())[i]);
            else
                values.view.as<int32_t>()[i] = ((int32_t*)bits.data())[i];
        }
        return values;
    }
};

// Random normal numbers that `dtype` holds exactly.
inline TestTensor random_in(DType dtype, std::initializer_list<int64_t> shape, uint64_t seed,
                            double scale = 1) {
    TestTensor x = randn(shape, seed, DType::f64, scale);
    for (int64_t i = 0; i < x.size(); ++i) x.set(i, round_to(dtype, x.get(i)));
    return x;
}

// Values that an output must not keep.
inline TestTensor poison(std::initializer_list<int64_t> shape) {
    TestTensor x = zeros(shape);
    for (int64_t i = 0; i < x.size(); ++i) x.set(i, NAN);
    return x;
}

// |got - want| <= relative |want| + absolute
inline void expect_near(const GpuTensor& got, const TestTensor& want, double relative,
                        double absolute, const std::string& what) {
    TestTensor values = got.get();
    ASSERT_EQ(values.size(), want.size());
    for (int64_t i = 0; i < want.size(); ++i)
        ASSERT_TRUE(std::abs(values.get(i) - want.get(i)) <=
                    relative * std::abs(want.get(i)) + absolute)
            << what << "[" << i << "] = " << values.get(i) << ", wanted " << want.get(i);
}

inline bool same_values(const GpuTensor& a, const GpuTensor& b) {
    return same_bits(a.get(), b.get());
}

constexpr DType gpu_types[] = {DType::f32, DType::bf16};
inline std::string sizes(DType dtype, int64_t a, int64_t b) {
    return format("%s, %lld x %lld: ", dtype_name(dtype), (long long)a, (long long)b);
}
