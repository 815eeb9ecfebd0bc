#pragma once
// Hugging Face's config.json to ModelConfig and back, as JSON. hf.h reads and writes the files.

#include "base/json.h"
#include "model/config.h"

// config.json in the older form (rope_theta, rope_scaling, torch_dtype) or the newer one
// (rope_parameters, dtype), missing fields as transformers fills them, and generation_config.json
// (null: there is none), whose EOS ids come first. Whatever would change the arithmetic in a way that
// is not built is an error that names it. `where` is the path of config.json.
ModelConfig parse_model_config(const Json& config, const Json& generation,
                               const std::string& where);

// config.json of a model saved in `save_dtype` (f32, bf16, f16), in both forms at once, so that older
// and newer transformers and vLLM read it. Fields of `source` (the config.json the model came from, or
// null) that this program does not know are kept.
Json model_config_json(const ModelConfig& config, const Json& source,
                       const std::string& save_dtype);

// generation_config.json for a model that came without one.
Json generation_config_json(const ModelConfig& config);
