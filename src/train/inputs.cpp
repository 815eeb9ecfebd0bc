#include "train/inputs.h"

#include "base/file.h"
#include "model/hf.h"

#include <cstring>
#include <sys/stat.h>

// The strings of a JSON value that name models or files, by the path to them: credit[1].reference.
static void find_paths(const Json& json, const std::string& at, std::vector<RunInput>& inputs) {
    if (json.is_array())
        for (size_t i = 0; i < json.size(); ++i)
            find_paths(json[i], format("%s[%zu]", at.c_str(), i), inputs);
    if (!json.is_object()) return;
    for (auto& [key, value] : json.items()) {
        const bool path =
            key == "model" || key == "reference" || key == "judge" || key == "template";
        if (value.is_structured())
            find_paths(value, at + "." + key, inputs);
        else if (path && value.is_string() && value != "")
            inputs.push_back({at + "." + key, value.get<std::string>()});
    }
}

std::vector<RunInput> inputs_of(const Fields& config) {
    std::vector<RunInput> inputs;
    for (const Field& field : config.list) {
        if (!field.input) continue;
        if (auto text = std::get_if<std::string*>(&field.value)) {
            if (!(*text)->empty()) inputs.push_back({field.path, **text});
        } else if (auto json = std::get_if<Json*>(&field.value)) {
            find_paths(**json, field.path, inputs);
        }
    }
    return inputs;
}

// Eight bytes at a time (FNV-1a's multiplier, and a shift so that high bits reach low ones).
static uint64_t hash_of(const std::string& path, uint64_t hash) {
    MappedFile file(path);
    hash ^= file.size;
    for (size_t at = 0; at < file.size; at += 8) {
        uint64_t word = 0;
        std::memcpy(&word, file.data + at, std::min<size_t>(8, file.size - at));
        hash = (hash ^ word) * 0x100000001b3;
        hash ^= hash >> 29;
    }
    return hash;
}

static const uint64_t first_hash = 0xcbf29ce484222325;

static std::string as_text(uint64_t hash) { return format("%016llx", (unsigned long long)hash); }

std::string file_hash(const std::string& path) { return as_text(hash_of(path, first_hash)); }

// What loading a model reads. The trainer's files of a checkpoint are none of it.
static bool is_model_file(const std::string& name) {
    return (name.ends_with(".safetensors") || name.ends_with(".json") ||
            name.ends_with(".jinja")) &&
           !name.starts_with("trainer") && !name.starts_with("critic_trainer");
}

std::string input_hash(const std::string& path) {
    struct stat info;
    if (::stat(path.c_str(), &info) != 0) return ""; // whoever needs it says so
    if (S_ISREG(info.st_mode)) return file_hash(path);
    if (!S_ISDIR(info.st_mode)) return "";
    const std::string directory = model_directory(path);
    uint64_t hash = first_hash;
    for (const std::string& name : list_directory(directory)) {
        const std::string file = join_path(directory, name);
        if (!is_model_file(name) || is_directory(file)) continue;
        for (unsigned char c : name) hash = (hash ^ c) * 0x100000001b3;
        hash = hash_of(file, hash);
    }
    return as_text(hash);
}
