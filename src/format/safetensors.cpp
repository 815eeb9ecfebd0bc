#include "format/safetensors.h"

#include "base/foreign.h"
#include "base/half.h"
#include "base/json.h"

#include <algorithm>
#include <cstring>
#include <set>

// ---- reading ------------------------------------------------------------------------------------

// Bytes of an element, 0 for a dtype the format does not have (or packs below a byte).
static int64_t element_bytes(const std::string& dtype) {
    static const std::pair<const char*, int> sizes[] = {
        {"F64", 8}, {"I64", 8}, {"U64", 8},  {"F32", 4},     {"I32", 4},
        {"U32", 4}, {"F16", 2}, {"BF16", 2}, {"I16", 2},     {"U16", 2},
        {"I8", 1},  {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
    for (auto [name, bytes] : sizes)
        if (dtype == name) return bytes;
    return 0;
}

// The header, with duplicate names refused: JSON readers differ in which one they keep.
static nlohmann::json parse_header(const std::string& text, const std::string& where) {
    std::set<std::string> names;
    std::string duplicate;
    auto each = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
        if (event == nlohmann::json::parse_event_t::key && depth == 1 &&
            !names.insert(value.get<std::string>()).second)
            duplicate = value.get<std::string>();
        return true;
    };
    nlohmann::json header = nlohmann::json::parse(text, each, false);
    if (header.is_discarded()) parse_json(text, where + " (header)"); // says what is wrong with it
    CHECK(header.is_object(), "%s: the header is not a JSON object; the file is corrupt",
          where.c_str());
    CHECK(duplicate.empty(), "%s: tensor %.80s stands in the header twice; the file is corrupt",
          where.c_str(), duplicate.c_str());
    return header;
}

// A list of integers from 0 on, or false.
static bool read_list(const nlohmann::json& json, const char* key, std::vector<int64_t>& list) {
    if (!json.is_object() || !json.contains(key) || !json.at(key).is_array()) return false;
    for (const nlohmann::json& value : json.at(key)) {
        if (!value.is_number_integer() || value.get<int64_t>() < 0) return false;
        list.push_back(value.get<int64_t>());
    }
    return true;
}

std::vector<StoredTensor> parse_safetensors(const uint8_t* data, size_t size,
                                            const std::string& where) {
    const std::string foreign = foreign_content({(const char*)data, std::min<size_t>(size, 512)});
    CHECK(foreign.empty() || foreign.rfind("holds weights", 0) == 0, "%s %s", where.c_str(),
          foreign.c_str());
    CHECK(size >= 8, "%s: %zu bytes are too few for a safetensors file; it is truncated",
          where.c_str(), size);
    uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | data[i]; // little-endian
    CHECK(length <= size - 8 && length <= 100'000'000,
          "%s: the header claims %llu bytes, the file has %zu after its length; it is truncated or "
          "not a "
          "safetensors file",
          where.c_str(), (unsigned long long)length, size - 8);
    nlohmann::json header = parse_header(std::string((const char*)data + 8, length), where);
    const uint8_t* values = data + 8 + length;
    int64_t values_size = (int64_t)(size - 8 - length);

    std::vector<StoredTensor> tensors;
    std::vector<std::pair<int64_t, int64_t>> ranges; // begin, end of each tensor's bytes
    for (auto& [name, entry] : header.items()) {
        if (name == "__metadata__") continue;
        StoredTensor tensor;
        tensor.name = name;
        tensor.file = where;
        std::vector<int64_t> offsets;
        bool complete = entry.is_object() && entry.contains("dtype") &&
                        entry.at("dtype").is_string() && read_list(entry, "shape", tensor.shape) &&
                        read_list(entry, "data_offsets", offsets) && offsets.size() == 2;
        CHECK(complete,
              "%s: tensor %.80s lacks a valid dtype, shape or data_offsets; the file is corrupt",
              where.c_str(), name.c_str());
        tensor.dtype = entry.at("dtype").get<std::string>();
        tensor.size = 1;
        bool overflow = false;
        for (int64_t dim : tensor.shape)
            overflow |= __builtin_mul_overflow(tensor.size, dim, &tensor.size);
        int64_t bytes = 0, element = element_bytes(tensor.dtype);
        overflow |= __builtin_mul_overflow(tensor.size, element, &bytes);
        int64_t begin = offsets[0], end = offsets[1];
        CHECK(
            begin <= end && end <= values_size,
            "%s: tensor %.80s lies at bytes %lld .. %lld of %lld; the file is truncated or corrupt",
            where.c_str(), name.c_str(), (long long)begin, (long long)end, (long long)values_size);
        CHECK(element, "%s: tensor %.80s has the unknown dtype %.20s", where.c_str(), name.c_str(),
              tensor.dtype.c_str());
        CHECK(!overflow && bytes == end - begin,
              "%s: tensor %.80s has %lld bytes, which is not what its shape and dtype %s need; the "
              "file is "
              "corrupt",
              where.c_str(), name.c_str(), (long long)(end - begin), tensor.dtype.c_str());
        tensor.data = values + begin;
        ranges.push_back({begin, end});
        tensors.push_back(std::move(tensor));
    }
    std::sort(ranges.begin(), ranges.end());
    int64_t covered = 0;
    for (auto [begin, end] : ranges) {
        CHECK(begin >= covered, "%s: two tensors overlap at byte %lld; the file is corrupt",
              where.c_str(), (long long)begin);
        CHECK(begin == covered, "%s: bytes %lld .. %lld belong to no tensor; the file is corrupt",
              where.c_str(), (long long)covered, (long long)begin);
        covered = end;
    }
    CHECK(covered == values_size, "%s: bytes %lld .. %lld belong to no tensor; the file is corrupt",
          where.c_str(), (long long)covered, (long long)values_size);
    return tensors;
}

static std::string single_path(const std::string& directory) {
    return join_path(directory, "model.safetensors");
}
static std::string index_path(const std::string& directory) {
    return join_path(directory, "model.safetensors.index.json");
}

bool has_safetensors(const std::string& directory) {
    return file_exists(single_path(directory)) || file_exists(index_path(directory));
}

void SafetensorsDirectory::add(const std::string& path) {
    files.emplace_back(path);
    for (StoredTensor& tensor : parse_safetensors(files.back().data, files.back().size, path)) {
        auto [place, inserted] = tensors.emplace(tensor.name, tensor);
        CHECK(inserted, "tensor %.80s stands both in %s and in %s", tensor.name.c_str(),
              place->second.file.c_str(), path.c_str());
    }
}

SafetensorsDirectory::SafetensorsDirectory(const std::string& directory) {
    if (file_exists(single_path(directory))) {
        add(single_path(directory));
        return;
    }
    std::string index = index_path(directory);
    CHECK(file_exists(index),
          "%s holds neither model.safetensors nor model.safetensors.index.json%s",
          directory.c_str(),
          file_exists(join_path(directory, "pytorch_model.bin"))
              ? "; pytorch_model.bin is not read, save it with safe_serialization=True"
              : "");
    Json json = read_json(index);
    bool valid =
        json.is_object() && json.contains("weight_map") && json.at("weight_map").is_object();
    CHECK(valid, "%s: \"weight_map\" is missing or not an object", index.c_str());
    std::map<std::string, std::string> file_of; // tensor -> file
    std::set<std::string> names;
    for (auto& [tensor, file] : json.at("weight_map").items()) {
        CHECK(file.is_string() && file.get<std::string>().find('/') == std::string::npos,
              "%s: the file of tensor %.80s must be a name in the same directory", index.c_str(),
              tensor.c_str());
        names.insert(file.get<std::string>());
        file_of[tensor] = join_path(directory, file.get<std::string>());
    }
    for (const std::string& name : names) add(join_path(directory, name));
    for (auto& [tensor, file] : file_of) {
        auto found = tensors.find(tensor);
        CHECK(found != tensors.end() && found->second.file == file,
              "%s says that tensor %.80s is in %s, but it is not there", index.c_str(),
              tensor.c_str(), file.c_str());
    }
}

// Converts and reports whether every value is finite. T: the stored word.
template <class T, class F>
static bool convert_finite(const uint8_t* from, int64_t count, float* values, F convert) {
    uint32_t bad = 0;
    for (int64_t i = 0; i < count; ++i) {
        T word;
        std::memcpy(&word, from + i * sizeof(T), sizeof(T));
        float value = convert(word);
        values[i] = value;
        bad |= (std::bit_cast<uint32_t>(value) & 0x7F800000) == 0x7F800000;
    }
    return !bad;
}

void read_stored(const StoredTensor& tensor, int64_t first, int64_t count, float* values) {
    CHECK(first >= 0 && count >= 0 && first + count <= tensor.size,
          "%s: elements %lld .. %lld of %lld", tensor.name.c_str(), (long long)first,
          (long long)(first + count), (long long)tensor.size);
    bool finite = false;
    if (tensor.dtype == "F32")
        finite = convert_finite<float>(tensor.data + first * 4, count, values,
                                       [](float x) { return x; });
    else if (tensor.dtype == "BF16")
        finite = convert_finite<uint16_t>(tensor.data + first * 2, count, values, bf16_to_float);
    else if (tensor.dtype == "F16")
        finite = convert_finite<uint16_t>(tensor.data + first * 2, count, values, f16_to_float);
    else
        fail("%s: tensor %.80s has dtype %s; F32, BF16 and F16 can be read", tensor.file.c_str(),
             tensor.name.c_str(), tensor.dtype.c_str());
    CHECK(finite, "%s: tensor %.80s holds values that are not finite; the weights are damaged",
          tensor.file.c_str(), tensor.name.c_str());
}

// ---- writing ------------------------------------------------------------------------------------

int64_t TensorSource::size() const {
    int64_t count = 1;
    for (int64_t dim : shape) count *= dim;
    return count;
}

static const char* stored_dtype(DType dtype) {
    CHECK(dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16,
          "weights cannot be saved in %s; f32, bf16 and f16 can be written", dtype_name(dtype));
    return dtype == DType::f32 ? "F32" : dtype == DType::bf16 ? "BF16" : "F16";
}

// Values in place to their stored form at `out`, which may be the same memory: words only shrink.
// False: a value is not finite, or overflows the dtype.
static bool store_values(const float* values, int64_t count, DType dtype, void* out) {
    uint32_t bad = 0;
    auto round_to = [&](auto convert, uint16_t exponent) {
        uint16_t* words = static_cast<uint16_t*>(out);
        for (int64_t i = 0; i < count; ++i) {
            words[i] = convert(values[i]);
            bad |= (words[i] & exponent) == exponent;
        }
    };
    if (dtype == DType::bf16)
        round_to(float_to_bf16, 0x7F80);
    else if (dtype == DType::f16)
        round_to(float_to_f16, 0x7C00);
    else {
        for (int64_t i = 0; i < count; ++i)
            bad |= (std::bit_cast<uint32_t>(values[i]) & 0x7F800000) == 0x7F800000;
        std::memcpy(out, values, count * sizeof(float));
    }
    return !bad;
}

static void write_shard(const std::string& path, const std::vector<TensorSource>& tensors,
                        size_t first, size_t last) {
    Json header = Json::object();
    header["__metadata__"] = {{"format", "pt"}};
    int64_t offset = 0;
    for (size_t t = first; t < last; ++t) {
        int64_t end = offset + tensors[t].size() * (int64_t)dtype_bytes(tensors[t].dtype);
        header[tensors[t].name] = {{"dtype", stored_dtype(tensors[t].dtype)},
                                   {"shape", tensors[t].shape},
                                   {"data_offsets", {offset, end}}};
        offset = end;
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' '); // the values begin at a multiple of 8
    char length[8];
    for (int i = 0; i < 8; ++i) length[i] = (char)(text.size() >> (8 * i));

    AtomicFile file(path);
    file.write(length, 8);
    file.write(text);
    const int64_t chunk = 1 << 20;
    std::vector<float> values(chunk), stored(chunk);
    for (size_t t = first; t < last; ++t) {
        const TensorSource& tensor = tensors[t];
        for (int64_t at = 0, size = tensor.size(); at < size; at += chunk) {
            int64_t count = std::min(chunk, size - at);
            tensor.read(at, count, values.data());
            bool finite = store_values(values.data(), count, tensor.dtype, stored.data());
            CHECK(finite, "%s: tensor %s holds values that are not finite in %s; nothing was saved",
                  path.c_str(), tensor.name.c_str(), dtype_name(tensor.dtype));
            file.write(stored.data(), count * dtype_bytes(tensor.dtype));
        }
    }
    file.commit();
}

void write_safetensors_file(const std::string& path, const std::vector<TensorSource>& tensors) {
    write_shard(path, tensors, 0, tensors.size());
}

void write_safetensors(const std::string& directory, const std::vector<TensorSource>& unsorted,
                       int64_t shard_bytes) {
    // Wider elements first keeps every tensor aligned to its element.
    std::vector<TensorSource> tensors = unsorted;
    std::stable_sort(tensors.begin(), tensors.end(),
                     [](const TensorSource& a, const TensorSource& b) {
                         return dtype_bytes(a.dtype) > dtype_bytes(b.dtype);
                     });
    std::vector<size_t> cuts{0}; // first tensor of each shard, and the end
    int64_t total = 0, in_shard = 0;
    for (size_t t = 0; t < tensors.size(); ++t) {
        int64_t bytes = tensors[t].size() * (int64_t)dtype_bytes(tensors[t].dtype);
        if (in_shard && in_shard + bytes > shard_bytes) cuts.push_back(t), in_shard = 0;
        in_shard += bytes, total += bytes;
    }
    cuts.push_back(tensors.size());
    if (cuts.size() == 2) return write_shard(single_path(directory), tensors, 0, tensors.size());

    Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", Json::object()}};
    size_t shards = cuts.size() - 1;
    for (size_t s = 0; s < shards; ++s) {
        std::string name = format("model-%05zu-of-%05zu.safetensors", s + 1, shards);
        for (size_t t = cuts[s]; t < cuts[s + 1]; ++t) index["weight_map"][tensors[t].name] = name;
        write_shard(join_path(directory, name), tensors, cuts[s], cuts[s + 1]);
    }
    write_file(index_path(directory), index.dump(2) + "\n");
}
