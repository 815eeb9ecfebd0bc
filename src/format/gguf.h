#pragma once
// GGUF, the format of llama.cpp: typed metadata, tensors, quantised in blocks
// [github.com/ggml-org/ggml, docs/gguf.md; block layouts: ggml-common.h]. Versions 2 and 3 are read.

#include "base/file.h"
#include "base/json.h"

#include <map>

struct GgufTensor {
    std::string name;
    uint32_t type = 0; // ggml's number: 0 F32, 1 F16, 2 Q4_0, 3 Q4_1, 8 Q8_0, 14 Q6_K, 30 BF16
    int64_t rows = 1, cols = 1; // row-major; a vector is one row
    int rank = 1;
    const uint8_t* data = nullptr;
};

struct GgufContents {
    Json metadata = Json::object();            // "llama.block_count" -> 30; arrays as JSON arrays
    std::map<std::string, GgufTensor> tensors; // by name
};

// A whole file in memory. Counts, lengths and offsets are checked against the file's size; tensors of a
// type that cannot be read are listed without data, so that only their use is an error.
GgufContents parse_gguf(const uint8_t* data, size_t size, const std::string& where);

// A GGUF file, or all parts of a split one when `path` is any of them (NAME-00001-of-00003.gguf, ..):
// metadata of the first part, tensors of all. A part that is missing or belongs to another model is an
// error.
struct GgufFile {
    explicit GgufFile(const std::string& path);
    std::vector<MappedFile> parts;
    GgufContents contents;
};

const char* gguf_type_name(uint32_t type); // "Q4_1"; "?" for a number without a name
// Whether the values can be read: the type is one of those above.
inline bool gguf_readable(const GgufTensor& tensor) { return tensor.data != nullptr; }
// One row of a readable tensor as f32, bit for bit the values of gguf-py's dequantize.
void gguf_read_row(const GgufTensor& tensor, int64_t row, float* values);
