#include "app/explain/stored_run.h"

#include "base/file.h"
#include "model/hf.h"

#include <algorithm>
#include <cstdlib>

std::string StoredRun::file(const std::string& name) const { return join_path(directory, name); }

std::string StoredRun::text(const std::vector<int32_t>& ids) const {
    if (tokenizer) return tokenizer->decode(ids, false);
    std::string all;
    for (int32_t id : ids) all += format("[%d]", (int)id);
    return all;
}

StoredRun open_run(const std::string& directory) {
    CHECK(!directory.empty(), "the run directory is missing: rlhf report RUN, rlhf explain RUN");
    CHECK(is_directory(directory), "there is no directory %s; name the run.dir of a run",
          directory.c_str());
    StoredRun run;
    run.directory = directory;
    CHECK(file_exists(run.file("config.json")) && file_exists(run.file("metrics.jsonl")),
          "%s is not a run directory: config.json or metrics.jsonl is missing", directory.c_str());
    run.config = read_json(run.file("config.json"));
    const std::string where = run.file("config.json");
    CHECK(run.config.is_object(), "%s does not hold a configuration", where.c_str());
    run.rl = run.config.contains("algo") && run.config.contains("select");
    if (run.rl) {
        Fields algo, select;
        run.algo.visit(algo), run.select.visit(select);
        read_config_json(algo, run.config["algo"], where + ", algo");
        read_config_json(select, run.config["select"], where + ", select");
    }
    if (is_directory(run.file("rollouts")))
        for (const std::string& name : list_directory(run.file("rollouts"))) {
            char* end = nullptr;
            int64_t step = std::strtoll(name.c_str(), &end, 10);
            if (end != name.c_str() && std::string(end) == ".jsonl") run.steps.push_back(step);
        }
    std::sort(run.steps.begin(), run.steps.end());
    auto checkpoints = complete_checkpoints(directory);
    if (!checkpoints.empty() && file_exists(join_path(checkpoints.back().second, "tokenizer.json")))
        run.tokenizer = Tokenizer::load(checkpoints.back().second);
    return run;
}

StoredUpdate StoredRun::update(int64_t step) const {
    CHECK(rl, "%s is no rl run: it has no rollouts", directory.c_str());
    CHECK(!steps.empty(), "%s holds no stored rollouts; train.store_every says how often they are",
          file("rollouts").c_str());
    CHECK(std::binary_search(steps.begin(), steps.end(), step),
          "%s holds no rollouts of step %lld; there are %zu steps from %lld to %lld",
          file("rollouts").c_str(), (long long)step, steps.size(), (long long)steps.front(),
          (long long)steps.back());
    const int64_t count =
        config.contains("train") ? json_int_or(config["train"], "steps", 1, "train") : 1;
    const SelectConfig choice = at_step(select, step, count);
    const std::string path = file(format("rollouts/%06lld.jsonl", (long long)step));
    // Where A is not a function of the stored reward and credit alone, they are made anew.
    std::vector<SourceConfig> sources;
    if (config.contains("credit")) sources = read_sources(config["credit"]);
    bool anew = algo.advantage.combine == Combine::sum_of_normalised;
    for (const SourceConfig& source : sources) anew |= source.to == To::segments;
    return loss_of(read_rollouts(path, algo, choice, anew ? &sources : nullptr), algo, choice, step,
                   true);
}

std::vector<Json> read_metrics(const std::string& path) {
    std::string text = read_file(path);
    std::vector<Json> lines;
    size_t number = 1;
    for (size_t begin = 0, end; begin < text.size(); begin = end + 1, ++number) {
        end = std::min(text.find('\n', begin), text.size());
        std::string line = text.substr(begin, end - begin);
        if (line.empty()) continue;
        Json row = Json::parse(line, nullptr, false);
        if (row.is_discarded() && end == text.size()) break; // a run that was killed, or goes on
        CHECK(row.is_object() && row.contains("step") && row["step"].is_number(),
              "%s:%zu is not a metrics line", path.c_str(), number);
        lines.push_back(row);
    }
    CHECK(!lines.empty(), "%s has no line yet: the run has not finished a step", path.c_str());
    return lines;
}
