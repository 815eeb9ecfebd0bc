// The trainer's state as a safetensors file: t, then m, v (and the weights) of every parameter.

#include "base/file.h"
#include "base/json.h"
#include "model/hf.h"
#include "train/run.h"

#include <cstring>

struct Part {
    std::string name;
    Tensor tensor; // in the trainer
};

static std::vector<Part> parts_of(const Trainer& trainer, bool with_weights) {
    std::vector<Part> parts;
    auto add = [&](const char* prefix, const Params& params) {
        for (const Param& param : params.list) parts.push_back({prefix + param.name, param.tensor});
    };
    add("m.", trainer.m), add("v.", trainer.v);
    if (with_weights) add("weight.", trainer.model.params);
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
    std::vector<Part> parts = parts_of(trainer, with_weights);
    std::string header = header_text(parts);
    uint64_t length = header.size();
    AtomicFile file(path);
    file.write(&length, 8);
    file.write(header);
    file.write(&trainer.t, 8);
    std::vector<char> host;
    for (const Part& part : parts) {
        host.resize(part.tensor.bytes());
        trainer.model.ops->download(host.data(), part.tensor);
        file.write(host.data(), host.size());
    }
    file.commit();
}

void load_trainer(Trainer& trainer, bool with_weights, const std::string& path) {
    std::vector<Part> parts = parts_of(trainer, with_weights);
    std::string header = header_text(parts);
    MappedFile file(path);
    size_t total = 8 + header.size() + 8;
    for (const Part& part : parts) total += part.tensor.bytes();
    CHECK(file.size == total && std::memcmp(file.data + 8, header.data(), header.size()) == 0,
          "%s is not the state of this model: its tensors have other names, shapes or types",
          path.c_str());
    const uint8_t* at = file.data + 8 + header.size();
    std::memcpy(&trainer.t, at, 8), at += 8;
    for (const Part& part : parts) {
        trainer.model.ops->upload(part.tensor, at);
        at += part.tensor.bytes();
    }
    if (with_weights) refresh_weights(trainer.model.params, *trainer.model.ops);
}

static const char* trainer_name = "trainer.safetensors";

// Whether the model directory holds the weights rounded, so that the trainer's file must have them, too.
static bool saved_rounded(const Run& run, const Trainer& trainer) {
    return run.settings.save_dtype != dtype_name(trainer.model.compute.dtype);
}

void save_checkpoint(Run& run, Trainer& trainer, int64_t done, const Json& state) {
    run.save(done, state, [&](const std::string& directory) {
        write_model(trainer.model, directory, run.settings.save_dtype);
        save_trainer(trainer, saved_rounded(run, trainer), join_path(directory, trainer_name));
    });
    // The tokenizer's next copy comes from here: the checkpoint before it may be removed by then.
    trainer.model.source = run.checkpoint;
}

void load_checkpoint(const Run& run, Trainer& trainer) {
    load_trainer(trainer, saved_rounded(run, trainer), join_path(run.checkpoint, trainer_name));
}
