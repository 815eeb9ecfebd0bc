#include "model/hf.h"

#include "base/file.h"
#include "format/safetensors.h"
#include "model/gguf_model.h"
#include "model/hf_config.h"
#include "model/trainer_path.h"

#include <algorithm>
#include <set>

// Whether the directory's config.json is that of a model. A run directory has one, too: its settings.
static bool is_model_directory(const std::string& directory) {
    std::string path = join_path(directory, "config.json");
    if (!file_exists(path)) return false;
    Json json = read_json(path);
    return json.is_object() && (json.contains("model_type") || json.contains("architectures"));
}

std::vector<std::pair<int64_t, std::string>> complete_checkpoints(const std::string& run) {
    std::vector<std::pair<int64_t, std::string>> found;
    std::string parent = join_path(run, "checkpoints");
    if (!is_directory(parent)) return found;
    for (const std::string& name : list_directory(parent)) {
        bool digits = name.size() < 18 && name.find_first_not_of("0123456789") == std::string::npos;
        std::string path = join_path(parent, name);
        if (digits && file_exists(join_path(path, "trainer_state.json")))
            found.push_back({std::stoll(name), path});
    }
    std::sort(found.begin(), found.end());
    return found;
}

// The directories below snapshots/ of a download cache's folder of one model, as a sentence.
static std::string snapshots_of(const std::string& cache) {
    std::string snapshots = join_path(cache, "snapshots"), main = join_path(cache, "refs/main");
    if (!is_directory(snapshots)) return "";
    if (file_exists(main)) {
        std::string hash = read_file(main);
        std::string directory =
            join_path(snapshots, hash.substr(0, hash.find_last_not_of(" \n") + 1));
        if (is_directory(directory)) return directory;
    }
    std::string list;
    for (const std::string& name : list_directory(snapshots))
        list += (list.empty() ? "" : " or ") + join_path(snapshots, name);
    return list.empty() ? "none: nothing stands below " + snapshots : list;
}

// What `path`, which is no model and no run, may have been meant as: "; ..." or nothing.
static std::string meant_by(const std::string& path) {
    if (std::string snapshots = snapshots_of(path); !snapshots.empty())
        return "; it is a model's folder in a download cache, the model in it is " + snapshots;
    if (file_exists(join_path(path, "adapter_config.json")))
        return "; it holds an adapter (adapter_config.json): merge it into its model first";
    std::string models;
    for (const std::string& name : list_directory(path))
        if (std::string inner = join_path(path, name); is_directory(inner)) {
            if (file_exists(join_path(inner, "config.json")) && has_safetensors(inner))
                models = inner;
            if (std::string snapshots = snapshots_of(inner); !snapshots.empty()) models = snapshots;
        }
    return models.empty() ? "" : "; a model stands in " + models;
}

std::string model_directory(const std::string& path) {
    CHECK(!path.empty(), "model.path is not set; give the directory of a model: model.path=DIR");
    const bool hub_name = std::count(path.begin(), path.end(), '/') == 1 && path[0] != '.' &&
                          path[0] != '/' && path.back() != '/';
    CHECK(file_exists(path),
          "%s does not exist; model.path must name a model's directory or a run's%s", path.c_str(),
          hub_name ? " (names of a hub are not looked up: download the model first)" : "");
    CHECK(is_directory(path),
          "%s is a file; a model is a directory (a GGUF file becomes one by rlhf convert from=%s "
          "to=DIR)",
          path.c_str(), path.c_str());
    if (is_model_directory(path)) return path;
    auto checkpoints = complete_checkpoints(path);
    CHECK(!checkpoints.empty(),
          "%s is neither a model (a config.json with \"model_type\") nor a run with a complete "
          "checkpoint (checkpoints/NUMBER with a trainer_state.json)%s",
          path.c_str(), meant_by(path).c_str());
    return checkpoints.back().second;
}

static Json read_json_or_null(const std::string& path) {
    return file_exists(path) ? read_json(path) : Json(nullptr);
}

// Whether an LM head stands beside the embedding and holds something else: then it is no copy of it,
// whatever tie_word_embeddings says. transformers (from 5 on) reads both tensors, too.
static bool has_own_head(const SafetensorsDirectory& stored) {
    auto head = stored.tensors.find("lm_head.weight"),
         embedding = stored.tensors.find("model.embed_tokens.weight");
    if (head == stored.tensors.end() || embedding == stored.tensors.end()) return false;
    const StoredTensor &a = head->second, &b = embedding->second;
    if (a.shape != b.shape) return true;
    const int64_t chunk = 1 << 16;
    std::vector<float> of_head(chunk), of_embedding(chunk);
    for (int64_t at = 0; at < a.size; at += chunk) {
        const int64_t count = std::min(chunk, a.size - at);
        read_stored(a, at, count, of_head.data()), read_stored(b, at, count, of_embedding.data());
        if (!std::equal(of_head.begin(), of_head.begin() + count, of_embedding.begin()))
            return true;
    }
    return false;
}

// The list "added_tokens" of tokenizer.json, cut out of the text: the vocabulary beside it takes a
// hundred times as long to parse.
static Json added_tokens(const std::string& text, const std::string& where) {
    const std::string key = "\"added_tokens\"";
    for (size_t at = 0; (at = text.find(key, at)) != std::string::npos;) {
        at = text.find_first_not_of(" \t\r\n:", at + key.size());
        if (at == std::string::npos || text[at] != '[') continue;
        int depth = 0;
        bool quoted = false;
        for (size_t end = at; end < text.size(); ++end) {
            const char c = text[end];
            if (quoted && c == '\\') ++end;
            if (c == '"') quoted = !quoted;
            if (!quoted) depth += (c == '[') - (c == ']');
            if (depth == 0) return parse_json(text.substr(at, end + 1 - at), where);
        }
    }
    return Json::array();
}

// The id of tokenizer_config.json's eos_token, or -1.
static int64_t end_of_tokenizer(const std::string& directory) {
    const std::string config_path = join_path(directory, "tokenizer_config.json"),
                      path = join_path(directory, "tokenizer.json");
    const Json config = read_json_or_null(config_path);
    if (!config.is_object() || !config.contains("eos_token") || !file_exists(path)) return -1;
    const Json& token = config["eos_token"];
    const Json content = token.is_object() && token.contains("content") ? token["content"] : token;
    if (!content.is_string()) return -1;
    const std::string text = read_file(path);
    for (const Json& added : added_tokens(text, path))
        if (added.is_object() && added.contains("content") && added["content"] == content)
            return json_int(added, "id", path);
    const nlohmann::json all = parse_large_json(text, path);
    const nlohmann::json::json_pointer place =
        nlohmann::json::json_pointer("/model/vocab") / content.get<std::string>();
    return all.contains(place) && all[place].is_number_integer() ? all[place].get<int64_t>() : -1;
}

// tokenizer_config.json may name another end of sequence than the model's files, the one that training
// texts end in. Generation stops at that one, too.
static void add_end_of_tokenizer(ModelConfig& model, const std::string& directory) {
    const int64_t id = end_of_tokenizer(directory);
    if (id < 0 || id >= model.V) return; // no token of this model
    if (std::find(model.eos.begin(), model.eos.end(), (int)id) == model.eos.end())
        model.eos.push_back((int)id);
}

ModelConfig read_model_config(const std::string& directory) {
    std::string path = join_path(directory, "config.json");
    ModelConfig config = parse_model_config(
        read_json(path), read_json_or_null(join_path(directory, "generation_config.json")), path);
    if (has_safetensors(directory)) {
        if (config.head != Head::lm)
            config.score_bias = SafetensorsDirectory(directory).tensors.count("score.bias") > 0;
        else if (config.tied_embeddings)
            config.tied_embeddings = !has_own_head(SafetensorsDirectory(directory));
    }
    add_end_of_tokenizer(config, directory);
    return config;
}

static std::string shape_list(const std::vector<int64_t>& shape) {
    std::string text = "(";
    for (size_t i = 0; i < shape.size(); ++i)
        text += format("%s%lld", i ? ", " : "", (long long)shape[i]);
    return text + ")";
}

static std::vector<int64_t> shape_of(const Tensor& tensor) {
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

static void check_unexpected(const SafetensorsDirectory& stored, const Params& params,
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

static const StoredTensor& find_stored(const SafetensorsDirectory& stored, const std::string& name,
                                       const std::vector<int64_t>& shape,
                                       const std::string& directory) {
    auto found = stored.tensors.find(name);
    CHECK(found != stored.tensors.end(), "%s: tensor %s is missing from the weights",
          directory.c_str(), name.c_str());
    const StoredTensor& tensor = found->second;
    CHECK(tensor.shape == shape, "%s: tensor %s has shape %s; config.json asks for %s",
          tensor.file.c_str(), name.c_str(), shape_list(tensor.shape).c_str(),
          shape_list(shape).c_str());
    return tensor;
}

static bool is_head(const Param& param) {
    return param.name == "score.weight" || param.name == "score.bias";
}

// The value head on a language model, which is no part of it for anyone but its trainer.
static const char* const value_head_name = "value_head.safetensors";

void for_each_stored(const Model& model, const std::string& directory, bool head_may_miss,
                     const std::function<void(size_t, int64_t, const float*, int64_t)>& take) {
    SafetensorsDirectory stored(directory);
    const std::string beside = trainer_path(directory, value_head_name);
    if (model.config.value_head && file_exists(beside)) stored.add(beside);
    check_unexpected(stored, model.params, model.config, directory);
    const int64_t chunk = 1 << 16; // stays in the cache between conversion and upload
    std::vector<float> values(chunk);
    for (size_t i = 0; i < model.params.list.size(); ++i) {
        const Param& param = model.params.list[i];
        if (is_head(param) && head_may_miss && !stored.tensors.count(param.name)) continue;
        const StoredTensor& tensor =
            find_stored(stored, param.name, shape_of(param.tensor), directory);
        for (int64_t at = 0; at < tensor.size; at += chunk) {
            int64_t count = std::min(chunk, tensor.size - at);
            read_stored(tensor, at, count, values.data());
            take(i, at, values.data(), count);
        }
    }
}

void read_weights(Model& model, const std::string& directory, const uint64_t* new_head_seed) {
    if (new_head_seed)
        for (const Param& param : model.params.list) {
            if (!is_head(param)) continue;
            Params head;
            head.list = {param};
            init_params(head, model.config, *model.ops, *new_head_seed);
        }
    for_each_stored(model, directory, new_head_seed != nullptr,
                    [&](size_t i, int64_t first, const float* values, int64_t count) {
                        upload_values(*model.ops, model.params.list[i].tensor, first, values,
                                      count);
                    });
    model.source = directory;
    refresh_weights(model.params, *model.ops);
}

std::unique_ptr<Model> load_model(const std::string& path, const ComputeConfig& compute,
                                  bool packed) {
    std::string directory = model_directory(path);
    auto model = make_model(read_model_config(directory), compute, packed);
    read_weights(*model, directory);
    return model;
}

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
    if (!source.empty()) original = read_json_or_null(join_path(source, "config.json"));
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
