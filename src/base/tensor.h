#pragma once
// A tensor is a view: pointer, element type, shape. Dense and row-major; it owns nothing (arena.h
// does). An empty tensor (no pointer) stands for an optional argument that is not given.

#include "base/check.h"

#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

enum class DType { f32, f64, bf16, f16, i32, u8 };

size_t dtype_bytes(DType dtype);
const char* dtype_name(DType dtype);

// What sums over values of this type are kept in: statistics, gradients of weights, moments.
constexpr DType wide_dtype(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

template <class T> constexpr DType dtype_of() {
    if constexpr (std::is_same_v<T, float>)
        return DType::f32;
    else if constexpr (std::is_same_v<T, double>)
        return DType::f64;
    else if constexpr (std::is_same_v<T, int32_t>)
        return DType::i32;
    else if constexpr (std::is_same_v<T, uint8_t>)
        return DType::u8;
    else
        static_assert(!sizeof(T), "no DType for this type");
}

struct Tensor {
    void* data = nullptr;
    DType dtype = DType::f32;
    int rank = 0;
    int64_t shape[4] = {1, 1, 1, 1};

    Tensor() = default;
    Tensor(void* pointer, DType type, std::initializer_list<int64_t> dims);

    explicit operator bool() const { return data != nullptr; }
    int64_t size() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
    size_t bytes() const { return size() * dtype_bytes(dtype); }

    template <class T> T* as() const {
        CHECK(dtype == dtype_of<T>(), "a tensor of %s was read as %s", dtype_name(dtype),
              dtype_name(dtype_of<T>()));
        return static_cast<T*>(data);
    }
    // Same memory, another shape of the same size.
    Tensor view(std::initializer_list<int64_t> dims) const;
    // Rows first .. first+count-1 of the leading dimension.
    Tensor rows(int64_t first, int64_t count) const;
    // Elements first .. first+count-1 of all, as a tensor of rank 1.
    Tensor elements(int64_t first, int64_t count) const;
};

std::string shape_text(const Tensor& tensor); // "(3, 576) f32"

// Reports a mismatch by op, tensor name and both shapes.
void check_shape(const char* op, const char* name, const Tensor& tensor,
                 std::initializer_list<int64_t> want);
