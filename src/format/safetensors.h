#pragma once
// The safetensors format: 8 bytes of header length, a JSON header that names dtype, shape and place of
// every tensor, and the values [github.com/huggingface/safetensors, "Format"]. Files may be split into
// shards with an index.

#include "base/file.h"
#include "base/tensor.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

// A tensor inside a mapped file.
struct StoredTensor {
    std::string name, dtype; // dtype as the file spells it: F32, BF16, F16, I64, ...
    std::vector<int64_t> shape;
    int64_t size = 0;              // elements
    const uint8_t* data = nullptr; // any alignment
    std::string file;
};

// The tensors of one file in memory. Everything in the header is checked: length, syntax, duplicate
// names, dtype against shape and bytes, ranges that leave the file, overlap or leave gaps.
std::vector<StoredTensor> parse_safetensors(const uint8_t* data, size_t size,
                                            const std::string& where);

// model.safetensors, or the shards that model.safetensors.index.json names.
struct SafetensorsDirectory {
    explicit SafetensorsDirectory(const std::string& directory);
    void add(const std::string& path); // one more file
    std::vector<MappedFile> files;
    std::map<std::string, StoredTensor> tensors; // by name
};
bool has_safetensors(const std::string& directory);

// Elements first .. first+count-1 as f32. A dtype other than F32, BF16, F16 and a value that is not
// finite are errors that name the tensor.
void read_stored(const StoredTensor& tensor, int64_t first, int64_t count, float* values);

// A tensor to be written: `read` gives its elements first .. first+count-1.
struct TensorSource {
    std::string name;
    std::vector<int64_t> shape;
    DType dtype = DType::f32; // in the file: f32, bf16, f16 (rounded to nearest, ties to even)
    std::function<void(int64_t first, int64_t count, float* values)> read;
    int64_t size() const;
};

// Writes model.safetensors, or shards of at most `shard_bytes` with an index. A value that is not
// finite, in f32 or after rounding, is an error that names the tensor.
void write_safetensors(const std::string& directory, const std::vector<TensorSource>& tensors,
                       int64_t shard_bytes = 5'000'000'000);
// All of them as one file.
void write_safetensors_file(const std::string& path, const std::vector<TensorSource>& tensors);
