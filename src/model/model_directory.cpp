// Where a model lies: a directory itself, a run's newest checkpoint, or Hugging Face's cache.

#include "base/file.h"
#include "base/json.h"
#include "format/safetensors.h"
#include "model/hf.h"

#include <algorithm>

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
