#include "train/shards.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "base/json.h"
#include "model/hf.h"
#include "train/run.h"

#include <algorithm>
#include <cstring>

using Piece = Trainer::Piece;

namespace {

struct Array {
    const char* name;
    Tensor part; // this rank's
};

// The last element of the last parameter: what is behind it fills up to equal parts.
int64_t elements_of(const Trainer& trainer) {
    const Piece last = trainer.place(trainer.grads.list.size() - 1);
    return last.first + last.count;
}

Piece range_of(const Trainer& trainer) {
    const Piece part = trainer.part();
    const int64_t end = std::min(part.first + part.count, elements_of(trainer));
    return {part.first, std::max<int64_t>(0, end - part.first)};
}

std::vector<Array> arrays_of(const Trainer& trainer, bool with_weights) {
    std::vector<Array> arrays = {{"m", trainer.m}, {"v", trainer.v}};
    const Model& model = trainer.model;
    const Piece part = trainer.part();
    if (with_weights && trainer.master)
        arrays.push_back({"weight", trainer.master});
    else if (with_weights)
        arrays.push_back(
            {"weight",
             flat_array(model.weights, model.compute.dtype).elements(part.first, part.count)});
    return arrays;
}

// Names and shapes of the parameters in order: equal texts are equal layouts.
std::string layout_of(const Trainer& trainer) {
    std::string text;
    for (const Param& param : trainer.grads.list)
        text += param.name + shape_text(param.tensor) + ";";
    return format("%08x", crc32c(text.data(), text.size()));
}

std::string shard_name(const std::string& path, int number, int count) {
    const std::string stem = path.substr(0, path.rfind(".safetensors"));
    return format("%s-%05d-of-%05d.safetensors", stem.c_str(), number, count);
}

struct Header {
    Piece range;
    int64_t t = 0, elements = 0;
    std::string layout;
    size_t data = 0; // offset of the first array in the file
    std::vector<std::string> arrays;
};

std::string header_text(const Trainer& trainer, const std::vector<Array>& arrays) {
    const Piece range = range_of(trainer);
    const DType dtype = trainer.m.dtype;
    Json json = {{"__metadata__",
                  {{"first", std::to_string(range.first)},
                   {"count", std::to_string(range.count)},
                   {"elements", std::to_string(elements_of(trainer))},
                   {"t", std::to_string(trainer.t)},
                   {"layout", layout_of(trainer)}}}};
    const int64_t bytes = range.count * (int64_t)dtype_bytes(dtype);
    int64_t at = 0;
    for (const Array& array : arrays) {
        json[array.name] = {{"dtype", dtype == DType::f64 ? "F64" : "F32"},
                            {"shape", {range.count}},
                            {"data_offsets", {at, at + bytes}}};
        at += bytes;
    }
    const std::string text = json.dump();
    return text + std::string((8 - text.size() % 8) % 8, ' ');
}

Header read_header(const MappedFile& file) {
    uint64_t length = 0;
    CHECK(file.size >= 8, "%s is cut off", file.path.c_str());
    std::memcpy(&length, file.data, 8);
    CHECK(length <= file.size - 8, "%s is cut off", file.path.c_str());
    const Json json = parse_json(std::string((const char*)file.data + 8, length), file.path);
    Header header;
    const Json& about = json.at("__metadata__");
    auto number = [&](const char* name) { return std::stoll(about.at(name).get<std::string>()); };
    header.range = {number("first"), number("count")};
    header.t = number("t"), header.elements = number("elements");
    header.layout = about.at("layout");
    header.data = 8 + length;
    for (auto& [name, value] : json.items())
        if (name != "__metadata__") header.arrays.push_back(name);
    return header;
}

} // namespace

bool is_shard(const std::string& file_name) {
    return file_name.find("-of-") != std::string::npos &&
           file_name.find("trainer") != std::string::npos;
}

Shard save_shard(const Trainer& trainer, bool with_weights, const std::string& path) {
    const std::string name = shard_name(path, trainer.rank() + 1, trainer.model.compute.parts());
    const std::vector<Array> arrays = arrays_of(trainer, with_weights);
    AtomicFile file(name);
    Shard shard{name, 0, 0};
    auto write = [&](const void* bytes, size_t count) {
        file.write(bytes, count);
        shard.bytes += (int64_t)count;
        shard.crc32c = crc32c(bytes, count, shard.crc32c);
    };
    const std::string header = header_text(trainer, arrays);
    const uint64_t length = header.size();
    write(&length, 8);
    write(header.data(), header.size());
    const int64_t count = range_of(trainer).count, chunk = 1 << 20;
    std::vector<char> host;
    for (const Array& array : arrays)
        for (int64_t at = 0; at < count; at += chunk) {
            const Tensor some = array.part.elements(at, std::min(chunk, count - at));
            host.resize(some.bytes());
            trainer.model.ops->download(host.data(), some);
            write(host.data(), host.size());
        }
    file.commit();
    return shard;
}

void load_shards(Trainer& trainer, bool with_weights, const std::string& path) {
    const size_t slash = path.rfind('/');
    const std::string directory = path.substr(0, slash);
    const std::string stem = path.substr(slash + 1, path.rfind(".safetensors") - slash - 1) + "-";
    const std::vector<Array> arrays = arrays_of(trainer, with_weights);
    const Piece own = range_of(trainer);
    const size_t bytes = dtype_bytes(trainer.m.dtype);
    int64_t found = 0;
    for (const std::string& name : list_directory(directory)) {
        if (!name.starts_with(stem) || !is_shard(name)) continue;
        MappedFile file(join_path(directory, name));
        const Header header = read_header(file);
        std::vector<std::string> names;
        for (const Array& array : arrays) names.push_back(array.name);
        CHECK(header.layout == layout_of(trainer) && header.arrays == names &&
                  header.elements == elements_of(trainer) &&
                  file.size == header.data + names.size() * header.range.count * bytes,
              "%s is not a part of the state of this model: its tensors have other names, shapes "
              "or types",
              file.path.c_str());
        trainer.t = header.t;
        const int64_t first = std::max(own.first, header.range.first),
                      end =
                          std::min(own.first + own.count, header.range.first + header.range.count);
        if (first >= end) continue;
        found += end - first;
        for (size_t a = 0; a < arrays.size(); ++a)
            trainer.model.ops->upload(arrays[a].part.elements(first - own.first, end - first),
                                      file.data + header.data +
                                          (a * header.range.count + first - header.range.first) *
                                              bytes);
    }
    CHECK(found == own.count,
          "%s: of %lld values of this rank's part of the state %lld are there; a file of the "
          "checkpoint is missing",
          path.c_str(), (long long)own.count, (long long)found);
    if (!with_weights) return;
    const Collectives* ranks = trainer.model.compute.ranks;
    if (ranks && !trainer.master) // every rank has read its part of them
        ranks->all_gather(*ranks, flat_array(trainer.model.weights, trainer.model.compute.dtype));
    publish_weights(trainer);
}

std::string damage_of(const std::string& path, int64_t bytes, uint32_t sum) {
    if (!file_exists(path)) return path + " is missing";
    MappedFile file(path);
    if ((int64_t)file.size != bytes)
        return format("%s is damaged: it has %zu bytes, and had %lld", path.c_str(), file.size,
                      (long long)bytes);
    if (crc32c(file.data, file.size) != sum)
        return format("%s is damaged: its checksum is not the one in trainer_state.json",
                      path.c_str());
    return "";
}
