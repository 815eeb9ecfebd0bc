// Writing a model's directory, and converting one directory or GGUF file into another.

#include "base/file.h"
#include "model/gguf_model.h"
#include "model/hf.h"
#include "model/hf_config.h"
#include "model/hf_tensors.h"
#include "model/trainer_path.h"

static DType parse_save_dtype(const std::string& name) {
    for (DType dtype : {DType::f32, DType::bf16, DType::f16})
        if (name == dtype_name(dtype)) return dtype;
    fail("weights cannot be saved in \"%s\"; f32, bf16 and f16 can be written", name.c_str());
}

// Tokenizer, template and generation settings, which go where the weights go.
static void copy_companions(const std::string& from, const std::string& to) {
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                             "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model",
                             "chat_template.jinja", "chat_template.json", "generation_config.json"})
        if (file_exists(join_path(from, name)))
            write_file(join_path(to, name), read_file(join_path(from, name)));
    std::string templates =
        join_path(from, "additional_chat_templates"); // by name, as tool_use.jinja
    if (!is_directory(templates)) return;
    std::string target = join_path(to, "additional_chat_templates");
    make_directories(target);
    for (const std::string& name : list_directory(templates))
        write_file(join_path(target, name), read_file(join_path(templates, name)));
}

// config.json, from the one the model came from or from nothing, and generation_config.json if there was
// none.
static void write_configs(const ModelConfig& config, const std::string& source,
                          const std::string& directory, const std::string& save_dtype) {
    Json original;
    const std::string old = source.empty() ? "" : join_path(source, "config.json");
    if (file_exists(old)) original = read_json(old);
    write_file(join_path(directory, "config.json"),
               model_config_json(config, original, save_dtype).dump(2) + "\n");
    std::string generation = join_path(directory, "generation_config.json");
    if (!file_exists(generation) && !config.eos.empty())
        write_file(generation, generation_config_json(config).dump(2) + "\n");
}

void write_model(const Model& model, const std::string& directory, const std::string& save_dtype,
                 const Params* weights) {
    DType dtype = parse_save_dtype(save_dtype);
    std::vector<TensorSource> tensors, value_head;
    for (const Param& param : (weights ? weights : &model.params)->list)
        (model.config.value_head && is_head(param) ? value_head : tensors)
            .push_back({param.name, shape_of(param.tensor), dtype,
                        [&](int64_t first, int64_t count, float* values) {
                            download_values(*model.ops, values, param.tensor, first, count);
                        }});
    write_safetensors(directory, tensors);
    if (!value_head.empty()) {
        make_directories(trainer_path(directory, ""));
        write_safetensors_file(trainer_path(directory, value_head_name), value_head);
    }
    if (!model.source.empty()) {
        CHECK(is_directory(model.source), "%s, from where the tokenizer is copied, is gone",
              model.source.c_str());
        copy_companions(model.source, directory);
    }
    write_configs(model.config, model.source, directory, save_dtype);
}

// ---- convert ------------------------------------------------------------------------------------

static void convert_gguf(const std::string& from, const std::string& directory,
                         const std::string& to_dtype) {
    GgufFile file(from);
    const GgufContents& gguf = file.contents;
    ModelConfig config = gguf_model_config(gguf, from);
    TokenizerFiles tokenizer = gguf_tokenizer(gguf.metadata, from);
    DType dtype = to_dtype.empty() ? gguf_dtype(gguf) : parse_save_dtype(to_dtype);
    write_safetensors(directory, gguf_weights(gguf, config, dtype, from));
    write_file(join_path(directory, "tokenizer.json"), tokenizer.tokenizer);
    write_file(join_path(directory, "tokenizer_config.json"), tokenizer.config);
    write_configs(config, "", directory, dtype_name(dtype));
}

static void convert_directory(const std::string& from, const std::string& directory,
                              const std::string& to_dtype) {
    ModelConfig config = read_model_config(from);
    Params params;
    Arena arena("parameters");
    layout_params(params, config, arena, DType::f32);
    SafetensorsDirectory stored(from);
    check_unexpected(stored, params, config, from);
    std::vector<TensorSource> tensors;
    for (const Param& param : params.list) {
        const StoredTensor& tensor = find_stored(stored, param.name, shape_of(param.tensor), from);
        DType own = tensor.dtype == "BF16"  ? DType::bf16
                    : tensor.dtype == "F16" ? DType::f16
                                            : DType::f32;
        tensors.push_back({param.name, tensor.shape,
                           to_dtype.empty() ? own : parse_save_dtype(to_dtype),
                           [&tensor](int64_t first, int64_t count, float* values) {
                               read_stored(tensor, first, count, values);
                           }});
    }
    write_safetensors(directory, tensors);
    copy_companions(from, directory);
    std::string own = config.dtype == "bfloat16"  ? "bf16"
                      : config.dtype == "float16" ? "f16"
                                                  : "f32";
    write_configs(config, from, directory, to_dtype.empty() ? own : to_dtype);
}

void convert_model(const std::string& from, const std::string& to, const std::string& to_dtype) {
    CHECK(file_exists(from), "%s does not exist; from must name a GGUF file or a model's directory",
          from.c_str());
    CHECK(!file_exists(to) || (is_directory(to) && list_directory(to).empty()),
          "%s exists already; to must name a new or empty directory", to.c_str());
    AtomicDirectory directory(to);
    if (is_directory(from))
        convert_directory(model_directory(from), directory.temporary, to_dtype);
    else
        convert_gguf(from, directory.temporary, to_dtype);
    directory.commit();
}
