#include "base/tensor.h"

size_t dtype_bytes(DType dtype) {
    switch (dtype) {
    case DType::f64:
        return 8;
    case DType::f32:
    case DType::i32:
        return 4;
    case DType::bf16:
    case DType::f16:
        return 2;
    case DType::u8:
        return 1;
    }
    return 0;
}

const char* dtype_name(DType dtype) {
    switch (dtype) {
    case DType::f32:
        return "f32";
    case DType::f64:
        return "f64";
    case DType::bf16:
        return "bf16";
    case DType::f16:
        return "f16";
    case DType::i32:
        return "i32";
    case DType::u8:
        return "u8";
    }
    return "?";
}

Tensor::Tensor(void* pointer, DType type, std::initializer_list<int64_t> dims)
    : data(pointer), dtype(type), rank((int)dims.size()) {
    CHECK(dims.size() <= 4, "a tensor has at most 4 dimensions, not %zu", dims.size());
    int at = 0;
    for (int64_t dim : dims) shape[at++] = dim;
}

Tensor Tensor::view(std::initializer_list<int64_t> dims) const {
    Tensor other(data, dtype, dims);
    CHECK(other.size() == size(), "a view changes the size: %s as %s", shape_text(*this).c_str(),
          shape_text(other).c_str());
    return other;
}

Tensor Tensor::rows(int64_t first, int64_t count) const {
    CHECK(first >= 0 && count >= 0 && first + count <= shape[0],
          "rows %lld .. %lld of a tensor of shape %s", (long long)first, (long long)(first + count),
          shape_text(*this).c_str());
    Tensor part = *this;
    part.shape[0] = count;
    if (data) {
        int64_t row = shape[1] * shape[2] * shape[3];
        part.data = static_cast<char*>(data) + first * row * dtype_bytes(dtype);
    }
    return part;
}

Tensor Tensor::elements(int64_t first, int64_t count) const {
    CHECK(first >= 0 && count >= 0 && first + count <= size(), "elements %lld .. %lld of %s",
          (long long)first, (long long)(first + count), shape_text(*this).c_str());
    return Tensor(data ? static_cast<char*>(data) + first * dtype_bytes(dtype) : nullptr, dtype,
                  {count});
}

std::string shape_text(const Tensor& tensor) {
    std::string text = "(";
    for (int i = 0; i < tensor.rank; ++i)
        text += format("%s%lld", i ? ", " : "", (long long)tensor.shape[i]);
    return text + ") " + dtype_name(tensor.dtype);
}

void check_shape(const char* op, const char* name, const Tensor& tensor,
                 std::initializer_list<int64_t> want) {
    Tensor wanted(nullptr, tensor.dtype, want);
    bool same = tensor.data && tensor.rank == wanted.rank;
    for (int i = 0; same && i < tensor.rank; ++i) same = tensor.shape[i] == wanted.shape[i];
    CHECK(same, "%s: %s has shape %s%s, wanted %s", op, name, shape_text(tensor).c_str(),
          tensor.data ? "" : " and no memory", shape_text(wanted).c_str());
}
