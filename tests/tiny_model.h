#pragma once
// Tiny random models for the tests: sizes that divide nothing, weights large enough to matter.

#include "base/rng.h"
#include "model/model.h"

inline ModelConfig tiny_config(const std::string& family = "llama") {
    ModelConfig m;
    m.family = family;
    m.L = 2, m.C = 15, m.H = 4, m.K = 2, m.D = 6, m.F = 21, m.V = 37;
    m.max_positions = 256;
    m.eos = {1};
    if (family == "qwen2") m.qkv_bias = true, m.tied_embeddings = true;
    if (family == "qwen3") m.head_norm = true, m.D = 8;
    return m;
}

inline std::unique_ptr<Model> tiny_model(const ModelConfig& config, ComputeConfig compute = {},
                                         bool packed = false, uint64_t seed = 7) {
    auto model = make_model(config, compute, packed);
    Rng rng(seed);
    for (const Param& param : model->params.list) {
        std::vector<double> values(param.tensor.size());
        for (double& value : values) value = 0.3 * rng.normal() + (param.init == Init::one);
        std::vector<float> rounded(values.begin(), values.end());
        if (compute.dtype == DType::f64)
            model->ops->upload(param.tensor, values.data());
        else
            upload_values(*model->ops, param.tensor, 0, rounded.data(), param.tensor.size());
    }
    refresh_weights(model->params, *model->ops);
    return model;
}

inline std::vector<int32_t> random_ids(int count, int V, uint64_t seed) {
    Rng rng(seed);
    std::vector<int32_t> ids;
    for (int i = 0; i < count; ++i) ids.push_back(rng.below(V));
    return ids;
}

// Prompts with lengths around a page of the cache.
inline std::vector<std::vector<int32_t>> some_prompts(int V) {
    std::vector<std::vector<int32_t>> prompts;
    int seed = 50;
    for (int length : {3, 64, 1, 63, 65, 20}) prompts.push_back(random_ids(length, V, seed++));
    return prompts;
}
