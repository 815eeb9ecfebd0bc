#include "format/gguf.h"

#include "base/foreign.h"
#include "base/half.h"

#include <algorithm>
#include <cstring>

// ---- the file -----------------------------------------------------------------------------------

namespace {
// Reads little-endian words and never beyond the end.
struct Cursor {
    const uint8_t* data;
    size_t size, at;
    const std::string& where;

    size_t left() const { return size - at; }
    void need(uint64_t bytes, const char* what) const {
        CHECK(bytes <= left(),
              "%s: %s at byte %zu needs %llu bytes, %zu are left; the file is truncated or "
              "corrupt",
              where.c_str(), what, at, (unsigned long long)bytes, left());
    }
    template <class T> T word(const char* what) {
        need(sizeof(T), what);
        T value;
        std::memcpy(&value, data + at, sizeof(T));
        at += sizeof(T);
        return value;
    }
    std::string string(const char* what) {
        uint64_t length = word<uint64_t>(what);
        need(length, what);
        std::string text((const char*)data + at, length);
        at += length;
        return text;
    }
};

enum ValueType { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

struct BlockType {
    uint32_t type;
    const char* name;
    int values, bytes; // of a block; 0: cannot be read
};
const BlockType block_types[] = {
    {0, "F32", 1, 4},     {1, "F16", 1, 2},      {30, "BF16", 1, 2},     {8, "Q8_0", 32, 34},
    {2, "Q4_0", 32, 18},  {3, "Q4_1", 32, 20},   {14, "Q6_K", 256, 210}, {6, "Q5_0", 0, 0},
    {7, "Q5_1", 0, 0},    {9, "Q8_1", 0, 0},     {10, "Q2_K", 0, 0},     {11, "Q3_K", 0, 0},
    {12, "Q4_K", 0, 0},   {13, "Q5_K", 0, 0},    {15, "Q8_K", 0, 0},     {16, "IQ2_XXS", 0, 0},
    {17, "IQ2_XS", 0, 0}, {18, "IQ3_XXS", 0, 0}, {19, "IQ1_S", 0, 0},    {20, "IQ4_NL", 0, 0},
    {21, "IQ3_S", 0, 0},  {22, "IQ2_S", 0, 0},   {23, "IQ4_XS", 0, 0},   {24, "I8", 0, 0},
    {25, "I16", 0, 0},    {26, "I32", 0, 0},     {27, "I64", 0, 0},      {28, "F64", 0, 0},
    {29, "IQ1_M", 0, 0},  {34, "TQ1_0", 0, 0},   {35, "TQ2_0", 0, 0},    {39, "MXFP4", 0, 0}};
} // namespace

static const BlockType* find_block_type(uint32_t type) {
    for (const BlockType& row : block_types)
        if (row.type == type) return &row;
    return nullptr;
}

const char* gguf_type_name(uint32_t type) {
    const BlockType* row = find_block_type(type);
    return row ? row->name : "?";
}

static Json read_value(Cursor& in, uint32_t type, const char* key, int depth) {
    switch (type) {
    case u8:
        return in.word<uint8_t>(key);
    case i8:
        return in.word<int8_t>(key);
    case u16:
        return in.word<uint16_t>(key);
    case i16:
        return in.word<int16_t>(key);
    case u32:
        return in.word<uint32_t>(key);
    case i32:
        return in.word<int32_t>(key);
    case f32:
        return in.word<float>(key);
    case boolean:
        return in.word<uint8_t>(key) != 0;
    case string:
        return in.string(key);
    case u64:
        return in.word<uint64_t>(key);
    case i64:
        return in.word<int64_t>(key);
    case f64:
        return in.word<double>(key);
    case array: {
        uint32_t element = in.word<uint32_t>(key);
        uint64_t count = in.word<uint64_t>(key);
        in.need(count, key); // an element has at least one byte
        CHECK(depth < 3, "%s: the metadata %.80s nests arrays too deep", in.where.c_str(), key);
        Json list = Json::array();
        for (uint64_t i = 0; i < count; ++i)
            list.push_back(read_value(in, element, key, depth + 1));
        return list;
    }
    }
    fail("%s: the metadata %.80s has the unknown type %u; the file is corrupt", in.where.c_str(),
         key, type);
}

static void read_metadata(Cursor& in, uint64_t count, Json& metadata) {
    CHECK(count <= 4096, "%s: %llu metadata entries cannot be right; the file is corrupt",
          in.where.c_str(), (unsigned long long)count);
    for (uint64_t i = 0; i < count; ++i) {
        std::string key = in.string("a metadata key");
        CHECK(!metadata.contains(key),
              "%s: the metadata %.80s stands there twice; the file is corrupt", in.where.c_str(),
              key.c_str());
        uint32_t type = in.word<uint32_t>(key.c_str());
        metadata[key] = read_value(in, type, key.c_str(), 0);
    }
}

// Name, shape, type and offset of one tensor; the offset goes to `offset`.
static GgufTensor read_tensor_info(Cursor& in, uint64_t& offset) {
    GgufTensor tensor;
    tensor.name = in.string("a tensor's name");
    uint32_t rank = in.word<uint32_t>("a tensor's rank");
    CHECK(rank >= 1 && rank <= 4, "%s: tensor %.80s has %u dimensions; the file is corrupt",
          in.where.c_str(), tensor.name.c_str(), rank);
    bool overflow = false;
    for (uint32_t i = 0; i < rank; ++i) { // the first dimension is the fastest: a row's length
        int64_t dim = in.word<int64_t>("a tensor's shape");
        overflow |= dim <= 0;
        if (i == 0)
            tensor.cols = dim;
        else
            overflow |= __builtin_mul_overflow(tensor.rows, dim, &tensor.rows);
    }
    int64_t elements;
    overflow |= __builtin_mul_overflow(tensor.rows, tensor.cols, &elements) || elements > (int64_t)1
                                                                                              << 50;
    CHECK(!overflow, "%s: the shape of tensor %.80s cannot be right; the file is corrupt",
          in.where.c_str(), tensor.name.c_str());
    tensor.rank = (int)rank;
    tensor.type = in.word<uint32_t>("a tensor's type");
    offset = in.word<uint64_t>("a tensor's offset");
    return tensor;
}

GgufContents parse_gguf(const uint8_t* data, size_t size, const std::string& where) {
    const bool named = size >= 4 && std::memcmp(data, "GGUF", 4) == 0;
    const std::string foreign = foreign_content({(const char*)data, std::min<size_t>(size, 512)});
    CHECK(named || foreign.empty(), "%s %s", where.c_str(), foreign.c_str());
    CHECK(named && size >= 24,
          "%s is not a GGUF file (it does not begin with GGUF) or is truncated", where.c_str());
    Cursor in{data, size, 4, where};
    uint32_t version = in.word<uint32_t>("the version");
    CHECK(version == 2 || version == 3,
          "%s: GGUF version %u%s is not supported; versions 2 and 3 are", where.c_str(), version,
          version & 0xFFFF ? "" : " (a big-endian file)");
    uint64_t tensor_count = in.word<uint64_t>("the number of tensors");
    uint64_t metadata_count = in.word<uint64_t>("the number of metadata entries");

    GgufContents contents;
    read_metadata(in, metadata_count, contents.metadata);
    int64_t alignment = json_int_or(contents.metadata, "general.alignment", 32, where);
    CHECK(alignment >= 1 && alignment <= 1 << 20 && (alignment & (alignment - 1)) == 0,
          "%s: general.alignment = %lld is not a power of two", where.c_str(),
          (long long)alignment);

    std::vector<std::pair<GgufTensor, uint64_t>> infos; // with their offsets
    for (uint64_t i = 0; i < tensor_count; ++i) {
        uint64_t offset;
        GgufTensor tensor = read_tensor_info(in, offset);
        infos.push_back({tensor, offset});
    }
    size_t begin = (in.at + alignment - 1) / alignment * alignment;
    std::vector<std::pair<uint64_t, uint64_t>> ranges;
    for (auto& [tensor, offset] : infos) {
        const BlockType* block = find_block_type(tensor.type);
        if (block && block->values) {
            CHECK(tensor.cols % block->values == 0,
                  "%s: rows of tensor %.80s have %lld values, which is no multiple of %s's block "
                  "of %d",
                  where.c_str(), tensor.name.c_str(), (long long)tensor.cols, block->name,
                  block->values);
            uint64_t bytes =
                (uint64_t)(tensor.rows * (tensor.cols / block->values)) * (uint64_t)block->bytes;
            CHECK(begin <= size && offset <= size - begin && bytes <= size - begin - offset,
                  "%s: tensor %.80s lies at bytes %llu .. %llu after the header, beyond the file's "
                  "end; it is "
                  "truncated or corrupt",
                  where.c_str(), tensor.name.c_str(), (unsigned long long)offset,
                  (unsigned long long)(offset + bytes));
            CHECK(offset % (uint64_t)alignment == 0,
                  "%s: tensor %.80s is not aligned to %lld bytes; the file is corrupt",
                  where.c_str(), tensor.name.c_str(), (long long)alignment);
            tensor.data = data + begin + offset;
            ranges.push_back({offset, offset + bytes});
        }
        CHECK(contents.tensors.emplace(tensor.name, tensor).second,
              "%s: tensor %.80s stands there twice; the file is corrupt", where.c_str(),
              tensor.name.c_str());
    }
    std::sort(ranges.begin(), ranges.end());
    for (size_t i = 1; i < ranges.size(); ++i)
        CHECK(ranges[i].first >= ranges[i - 1].second,
              "%s: two tensors overlap at byte %llu after the header; the "
              "file is corrupt",
              where.c_str(), (unsigned long long)ranges[i].first);
    return contents;
}

// ---- split files --------------------------------------------------------------------------------

static int64_t split_count(const GgufContents& part, const std::string& path) {
    return json_int_or(part.metadata, "split.count", 1, path);
}

GgufFile::GgufFile(const std::string& path) {
    parts.emplace_back(path);
    contents = parse_gguf(parts[0].data, parts[0].size, path);
    const int64_t count = split_count(contents, path);
    if (count <= 1) return;
    const int64_t own = json_int(contents.metadata, "split.no", path) + 1; // parts count from 0
    const std::string end = format("-%05lld-of-%05lld.gguf", (long long)own, (long long)count);
    CHECK(path.size() > end.size() && path.ends_with(end),
          "%s is part %lld of a model that is split into %lld (split.count); its name must end in "
          "%s, "
          "so that the other parts can be found",
          path.c_str(), (long long)own, (long long)count, end.c_str());
    const std::string name = path.substr(0, path.size() - end.size());
    GgufContents all;
    parts.clear();
    for (int64_t i = 0; i < count; ++i) {
        const std::string file =
            format("%s-%05lld-of-%05lld.gguf", name.c_str(), (long long)i + 1, (long long)count);
        CHECK(file_exists(file),
              "%s is one part of a model that is split into %lld (split.count); %s is "
              "missing",
              path.c_str(), (long long)count, file.c_str());
        parts.emplace_back(file);
        GgufContents part = parse_gguf(parts.back().data, parts.back().size, file);
        CHECK(split_count(part, file) == count &&
                  json_int_or(part.metadata, "split.no", -1, file) == i,
              "%s is no part %lld of %lld (split.no, split.count)", file.c_str(), (long long)i + 1,
              (long long)count);
        if (i == 0) all.metadata = std::move(part.metadata);
        for (auto& [tensor, place] : part.tensors)
            CHECK(all.tensors.emplace(tensor, place).second,
                  "%s: tensor %.80s stands in another part, too", file.c_str(), tensor.c_str());
    }
    const int64_t tensors =
        json_int_or(all.metadata, "split.tensors.count", (int64_t)all.tensors.size(), path);
    CHECK(tensors == (int64_t)all.tensors.size(),
          "%s: the parts hold %zu tensors, split.tensors.count says %lld", path.c_str(),
          all.tensors.size(), (long long)tensors);
    contents = std::move(all);
}

// ---- the values ---------------------------------------------------------------------------------
// d and m are f16 scales, q small integers: their products are exact in f32.

static float scale_at(const uint8_t* at) { return f16_to_float((uint16_t)(at[0] | at[1] << 8)); }

// x_i = d q_i                                            d, then 32 int8
static void read_q8_0(const uint8_t* block, float* x) {
    float d = scale_at(block);
    for (int i = 0; i < 32; ++i) x[i] = (float)(int8_t)block[2 + i] * d;
}

// x_i = d (q_i - 8)      d, then 16 bytes: low halves are values 0 .. 15, high halves 16 .. 31
static void read_q4_0(const uint8_t* block, float* x) {
    float d = scale_at(block);
    for (int i = 0; i < 16; ++i) {
        x[i] = d * (float)((block[2 + i] & 15) - 8);
        x[i + 16] = d * (float)((block[2 + i] >> 4) - 8);
    }
}

// x_i = d q_i + m                                        d, m, then as Q4_0
static void read_q4_1(const uint8_t* block, float* x) {
    float d = scale_at(block), m = scale_at(block + 2);
    for (int i = 0; i < 16; ++i) {
        x[i] = d * (float)(block[4 + i] & 15) + m;
        x[i + 16] = d * (float)(block[4 + i] >> 4) + m;
    }
}

// x_i = d s_(i/16) (q_i - 32): 128 bytes with the low 4 bits of q, 64 with the high 2, 16 int8 scales s,
// d. In each half of 128 values, 32-value group g has its low bits in bytes (g % 2) 32 .. +31, lower
// nibbles for g < 2, and its high bits in bits 2g, 2g+1 of the half's 32 bytes.
static void read_q6_k(const uint8_t* block, float* x) {
    float d = scale_at(block + 208);
    for (int i = 0; i < 256; ++i) {
        int half = i / 128, group = i / 32 % 4, place = i % 32;
        int low = block[64 * half + 32 * (group % 2) + place] >> (4 * (group / 2)) & 15;
        int high = block[128 + 32 * half + place] >> (2 * group) & 3;
        x[i] = d * (float)(int8_t)block[192 + i / 16] * (float)((low | high << 4) - 32);
    }
}

template <class F>
static void read_blocks(const uint8_t* data, int64_t count, const BlockType& type, float* values,
                        F read) {
    for (int64_t b = 0; b < count; ++b) read(data + b * type.bytes, values + b * type.values);
}

void gguf_read_row(const GgufTensor& tensor, int64_t row, float* values) {
    const BlockType* type = find_block_type(tensor.type);
    int64_t blocks = tensor.cols / type->values;
    const uint8_t* data = tensor.data + row * blocks * type->bytes;
    auto word = [](const uint8_t* at) { return (uint16_t)(at[0] | at[1] << 8); };
    switch (tensor.type) {
    case 0:
        std::memcpy(values, data, tensor.cols * sizeof(float));
        break;
    case 1:
        read_blocks(data, blocks, *type, values,
                    [&](const uint8_t* at, float* x) { *x = f16_to_float(word(at)); });
        break;
    case 30:
        read_blocks(data, blocks, *type, values,
                    [&](const uint8_t* at, float* x) { *x = bf16_to_float(word(at)); });
        break;
    case 8:
        read_blocks(data, blocks, *type, values, read_q8_0);
        break;
    case 2:
        read_blocks(data, blocks, *type, values, read_q4_0);
        break;
    case 3:
        read_blocks(data, blocks, *type, values, read_q4_1);
        break;
    case 14:
        read_blocks(data, blocks, *type, values, read_q6_k);
        break;
    }
}
