// Reading: the configuration and the weights of a directory. Writing is hf_write.cpp's.

#include "model/hf.h"

#include "base/file.h"
#include "model/hf_config.h"
#include "model/hf_tensors.h"
#include "model/trainer_path.h"

#include <algorithm>

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

// What a directory may lack where a new one will do.
static bool may_be_new(const Param& param) {
    return is_head(param) || param.name == "row_heads.weight";
}

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
        if (may_be_new(param) && head_may_miss && !stored.tensors.count(param.name)) continue;
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
            if (!may_be_new(param)) continue;
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
