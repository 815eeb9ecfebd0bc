// The trainer's state as a safetensors file: t, then m, v (and the weights) of every parameter.

#include "base/file.h"
#include "base/json.h"
#include "model/hf.h"
#include "model/trainer_path.h"
#include "train/run.h"

#include <cstring>
#include <optional>

namespace {
struct Part {
    std::string name;
    Tensor tensor; // of the trainer's type and the parameter's shape
};
} // namespace

// One of the trainer's arrays: of this rank's part, or of everything.
struct Array {
    const char* prefix;
    Tensor tensor;
    bool is_part;
};

static std::vector<Array> arrays_of(const Trainer& trainer, bool with_weights) {
    std::vector<Array> arrays = {{"m.", trainer.m, true}, {"v.", trainer.v, true}};
    const Model& model = trainer.model;
    if (with_weights && trainer.master)
        arrays.push_back({"weight.", trainer.master, true});
    else if (with_weights)
        arrays.push_back({"weight.", flat_array(model.weights, model.compute.dtype), false});
    return arrays;
}

// The parameters, array by array: the file's order.
static std::vector<Part> parts_of(const Trainer& trainer, const std::vector<Array>& arrays) {
    std::vector<Part> parts;
    for (const Array& array : arrays)
        for (const Param& param : trainer.grads.list)
            parts.push_back({array.prefix + param.name, param.tensor});
    return parts;
}

// The whole header follows from the model's shapes, so that equal headers mean equal layouts.
static std::string header_text(const std::vector<Part>& parts) {
    Json header = {{"t", {{"dtype", "I64"}, {"shape", {1}}, {"data_offsets", {0, 8}}}}};
    size_t offset = 8;
    for (const Part& part : parts) {
        Json shape = Json::array();
        for (int i = 0; i < part.tensor.rank; ++i) shape.push_back(part.tensor.shape[i]);
        header[part.name] = {{"dtype", part.tensor.dtype == DType::f64 ? "F64" : "F32"},
                             {"shape", shape},
                             {"data_offsets", {offset, offset + part.tensor.bytes()}}};
        offset += part.tensor.bytes();
    }
    std::string text = header.dump();
    return text.append((8 - text.size() % 8) % 8, ' '); // data begins at a multiple of 8 bytes
}

void save_trainer(const Trainer& trainer, bool with_weights, const std::string& path) {
    const std::vector<Array> arrays = arrays_of(trainer, with_weights);
    const std::string header = header_text(parts_of(trainer, arrays));
    const uint64_t length = header.size();
    std::optional<AtomicFile> file; // the other ranks only give their parts
    if (trainer.rank() == 0) {
        file.emplace(path);
        file->write(&length, 8);
        file->write(header);
        file->write(&trainer.t, 8);
    }
    std::vector<char> host;
    for (const Array& array : arrays) {
        const Tensor all = array.is_part ? whole_array(trainer, array.tensor) : array.tensor;
        for (size_t i = 0; file && i < trainer.grads.list.size(); ++i) {
            const Trainer::Piece place = trainer.place(i);
            const Tensor values = all.elements(place.first, place.count);
            host.resize(values.bytes());
            trainer.model.ops->download(host.data(), values);
            file->write(host.data(), host.size());
        }
    }
    if (file) file->commit();
}

void load_trainer(Trainer& trainer, bool with_weights, const std::string& path) {
    const std::vector<Array> arrays = arrays_of(trainer, with_weights);
    const std::vector<Part> parts = parts_of(trainer, arrays);
    const std::string header = header_text(parts);
    MappedFile file(path);
    size_t total = 8 + header.size() + 8;
    for (const Part& part : parts) total += part.tensor.bytes();
    CHECK(file.size == total && std::memcmp(file.data + 8, header.data(), header.size()) == 0,
          "%s is not the state of this model: its tensors have other names, shapes or types",
          path.c_str());
    const uint8_t* at = file.data + 8 + header.size();
    std::memcpy(&trainer.t, at, 8), at += 8;
    for (const Array& array : arrays)
        for (size_t i = 0; i < trainer.grads.list.size(); ++i) {
            const Trainer::Piece place = trainer.place(i);
            const Trainer::Piece piece = array.is_part ? trainer.own_piece(i) : place;
            const int64_t begin = array.is_part ? trainer.part().first : 0;
            const size_t bytes = dtype_bytes(array.tensor.dtype);
            if (piece.count)
                trainer.model.ops->upload(array.tensor.elements(piece.first - begin, piece.count),
                                          at + (piece.first - place.first) * bytes);
            at += place.count * bytes;
        }
    if (with_weights) publish_weights(trainer);
}

static const char* trainer_name = "trainer.safetensors";

bool state_has_weights(const Trainer& trainer, const std::string& save_dtype) {
    return save_dtype != dtype_name(wide_dtype(trainer.model.compute.dtype));
}

static bool in_pieces(const Trainer& trainer) {
    const Collectives* ranks = trainer.model.compute.ranks;
    return ranks && ranks->share_work();
}

void write_state(Run& run, const Trainer& trainer, const std::string& directory,
                 const std::string& name) {
    const std::string path = trainer_path(directory, name);
    const bool with_weights = state_has_weights(trainer, run.settings.save_dtype);
    if (in_pieces(trainer))
        run.wrote(save_shard(trainer, with_weights, path));
    else
        save_trainer(trainer, with_weights, path);
}

void read_state(const Run& run, Trainer& trainer, const std::string& name) {
    const std::string path = stored_trainer_path(run.checkpoint, name);
    const bool with_weights = state_has_weights(trainer, run.settings.save_dtype);
    if (file_exists(path))
        load_trainer(trainer, with_weights, path);
    else
        load_shards(trainer, with_weights, trainer_path(run.checkpoint, name));
}

void save_checkpoint(Run& run, Trainer& trainer, int64_t done, const Json& state) {
    const Params weights = full_weights(trainer);
    run.save(done, state, [&](const std::string& directory) {
        make_directories(trainer_path(directory, ""));
        if (trainer.rank() == 0)
            write_model(trainer.model, directory, run.settings.save_dtype, &weights);
        write_state(run, trainer, directory, trainer_name);
    });
    // The tokenizer's next copy comes from here: the checkpoint before it may be removed by then.
    if (!run.checkpoint.empty()) trainer.model.source = run.checkpoint;
}

void load_checkpoint(const Run& run, Trainer& trainer) { read_state(run, trainer, trainer_name); }
