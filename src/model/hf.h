#pragma once
// Model directories in Hugging Face's layout, in and out (config.json, safetensors), and GGUF files in.

#include "model/model.h"

// Complete checkpoints of a run directory, oldest first: step and directory. A checkpoint is complete
// when it stands under its number and has a trainer_state.json, the file that is written last.
std::vector<std::pair<int64_t, std::string>> complete_checkpoints(const std::string& run);

// `path` itself if it holds a config.json of a model, or the newest complete checkpoint of the run
// directory `path`. Errors say what was looked for.
std::string model_directory(const std::string& path);

// config.json, older form (rope_theta, rope_scaling, torch_dtype) or newer (rope_parameters, dtype), and
// the EOS ids of generation_config.json, which come first.
ModelConfig read_model_config(const std::string& directory);

// Weights of model.safetensors or its shards, into the model's parameters (any of f32, bf16, f16 in the
// file). A head that the file lacks is initialised from `seed` when `new_head_seed` is not null, and an
// error otherwise. Sets model.source and refreshes the GEMM forms.
void read_weights(Model& model, const std::string& directory,
                  const uint64_t* new_head_seed = nullptr);

// Calls take(number of the parameter, first, values, count) for all elements of every parameter as the
// directory's files hold them, in f32 and in pieces. A missing head is left out if it may be missing.
void for_each_stored(
    const Model& model, const std::string& directory, bool head_may_miss,
    const std::function<void(size_t, int64_t first, const float* values, int64_t count)>& take);

// Config, then weights: what most commands want.
std::unique_ptr<Model> load_model(const std::string& path, const ComputeConfig& compute,
                                  bool packed);

// Writes config.json, generation_config.json, model.safetensors (sharded above 5 GB) and copies
// tokenizer.json, tokenizer_config.json, chat_template.jinja, ... from model.source into `directory`,
// which must exist. save_dtype: "f32", "bf16", "f16". transformers and vLLM load the result unchanged.
// weights: the same parameters in full precision, where the model holds them rounded; null: its own.
void write_model(const Model& model, const std::string& directory, const std::string& save_dtype,
                 const Params* weights = nullptr);

// A Hugging Face directory or a GGUF file, to a Hugging Face directory. to_dtype "": the source's own.
void convert_model(const std::string& from, const std::string& to, const std::string& to_dtype);
