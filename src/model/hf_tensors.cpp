#include "model/hf_tensors.h"

#include <set>

static std::string shape_list(const std::vector<int64_t>& shape) {
    std::string text = "(";
    for (size_t i = 0; i < shape.size(); ++i)
        text += format("%s%lld", i ? ", " : "", (long long)shape[i]);
    return text + ")";
}

std::vector<int64_t> shape_of(const Tensor& tensor) {
    return std::vector<int64_t>(tensor.shape, tensor.shape + tensor.rank);
}

static bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() &&
           text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Tensors that a file may hold beside the parameters without meaning anything else by them: a copy of
// the tied embedding, tables that are computed, a head that this use of the model leaves aside.
static bool is_harmless(const std::string& name, const ModelConfig& config) {
    if (name == "lm_head.weight") return config.tied_embeddings || config.head != Head::lm;
    if (name == "score.weight" || name == "score.bias") return config.head == Head::lm;
    return ends_with(name, ".rotary_emb.inv_freq");
}

void check_unexpected(const SafetensorsDirectory& stored, const Params& params,
                      const ModelConfig& config, const std::string& directory) {
    std::set<std::string> known;
    for (const Param& param : params.list) known.insert(param.name);
    for (auto& [name, tensor] : stored.tensors)
        CHECK(known.count(name) || is_harmless(name, config),
              "%s: tensor %.80s is no part of a %s model of this configuration; config.json and "
              "weights do "
              "not belong together",
              directory.c_str(), name.c_str(), config.family.c_str());
}

const StoredTensor& find_stored(const SafetensorsDirectory& stored, const std::string& name,
                                const std::vector<int64_t>& shape, const std::string& directory) {
    auto found = stored.tensors.find(name);
    CHECK(found != stored.tensors.end(), "%s: tensor %s is missing from the weights",
          directory.c_str(), name.c_str());
    const StoredTensor& tensor = found->second;
    CHECK(tensor.shape == shape, "%s: tensor %s has shape %s; config.json asks for %s",
          tensor.file.c_str(), name.c_str(), shape_list(tensor.shape).c_str(),
          shape_list(shape).c_str());
    return tensor;
}

bool is_head(const Param& param) {
    return param.name == "score.weight" || param.name == "score.bias";
}
