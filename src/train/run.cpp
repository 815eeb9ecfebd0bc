#include "train/run.h"

#include "base/config.h"
#include "base/file.h"
#include "model/hf.h"
#include "ops/gpu.h"
#include "train/inputs.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sys/file.h>
#include <unistd.h>

static const char* state_name = "trainer_state.json";

// Files below a directory, by relative path, in order.
static void list_files(const std::string& directory, const std::string& prefix,
                       std::vector<std::string>& files) {
    for (const std::string& name : list_directory(directory)) {
        std::string path = join_path(directory, name);
        if (is_directory(path))
            list_files(path, prefix + name + "/", files);
        else
            files.push_back(prefix + name);
    }
}

static std::string read_state(const std::string& checkpoint, Json& state) {
    std::string path = join_path(checkpoint, state_name);
    state = read_json(path);
    CHECK(state.is_object() && state.contains("files") && state["files"].is_object() &&
              state.contains("state"),
          "%s is damaged: \"files\" or \"state\" is missing", path.c_str());
    return path;
}

// What a rank found wrong, as everybody's error; the first rank's word goes first.
static void agree(const Collectives* ranks, const std::string& error) {
    if (!ranks || !ranks->share_work()) {
        if (!error.empty()) fail("%s", error.c_str());
        return;
    }
    const std::vector<std::string> all = ranks->gather(*ranks, error);
    for (int r = 0; r < ranks->ranks; ++r)
        if (!all[r].empty()) fail("rank %d: %s", r, all[r].c_str());
}

template <class F> static std::string attempt(const F& f) {
    try {
        f();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

// For the tests of crashes: RLHF_DIE_AT_SAVE=k kills this process at the k-th place of its saves.
static void may_die() {
    static const char* place = std::getenv("RLHF_DIE_AT_SAVE");
    static int places = 0;
    if (place && ++places == std::atoi(place)) ::raise(SIGKILL);
}

// Empty: every file is what it was when it was saved. The ranks look at some of the files each.
std::string Run::damage_in(const std::string& directory) const {
    Json state;
    const std::string path = read_state(directory, state);
    int number = 0;
    std::string found;
    auto mine = [&] { return !ranks || number++ % ranks->ranks == ranks->rank; };
    for (auto& [name, sum] : state["files"].items()) {
        const std::string file = join_path(directory, name);
        if (mine() && found.empty() && (!file_exists(file) || sum != file_hash(file)))
            found = format("%s is damaged: its checksum is not the one in %s", file.c_str(),
                           path.c_str());
    }
    for (const Json& shard : state.value("shards", Json::array()))
        if (mine() && found.empty())
            found = damage_of(join_path(directory, shard.at("file").get<std::string>()),
                              shard.at("bytes").get<int64_t>(),
                              (uint32_t)shard.at("crc32c").get<int64_t>());
    return attempt([&] { agree(ranks, found); });
}

// Left behind by a process that died while it wrote.
static bool is_leftover(const std::string& name) {
    return name.find(".tmp") != std::string::npos || name.ends_with(".old");
}

static void remove_leftovers(const std::string& directory) {
    if (!is_directory(directory)) return;
    for (const std::string& name : list_directory(directory))
        if (is_leftover(name)) remove_tree(join_path(directory, name));
}

static Json at_path(const Json& root, const std::string& path) {
    std::string pointer = "/" + path;
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    Json::json_pointer place(pointer);
    return root.contains(place) ? root.at(place) : Json();
}

static void check_unchanged(const Fields& config, const std::string& path) {
    // run.dir names this very directory, however it is spelled.
    static const std::vector<std::string> free_keys = {
        "run.dir",        "run.resume",          "run.save_every",
        "run.keep",       "compute.threads",     "dist.watchdog_seconds",
        "dist.placement", "dist.generate_ranks", "dist.tickets"};
    Json saved = read_json(path), now = config_json(config);
    std::string newer; // keys that were not there when the run began
    for (const std::string& key : config_changes(config, saved)) {
        if (std::find(free_keys.begin(), free_keys.end(), key) != free_keys.end()) continue;
        Json before = at_path(saved, key), after = at_path(now, key);
        for (const auto& [old_key, new_key] : config.former)
            if (new_key == key && before.is_null()) before = at_path(saved, old_key);
        if (before == after) continue;
        if (before.is_null()) {
            newer += " " + key + "=" + dump_row(after);
            continue;
        }
        bool steps = key == "train.steps" && before.is_number();
        if (steps && after.get<double>() > before.get<double>()) continue;
        fail("%s: %s was %s and is now %s; a run goes on with the configuration it began with "
             "(free: run.save_every, run.keep, compute.threads, train.steps upwards). Set it back, "
             "or choose another run.dir",
             path.c_str(), key.c_str(), dump_row(before).c_str(), dump_row(after).c_str());
    }
    if (!newer.empty())
        std::fprintf(stderr, "%s comes from an older version; what it lacks is now:%s\n",
                     path.c_str(), newer.c_str());
}

Run::Run(const RunSettings& run_settings, const Fields& config, int64_t steps_,
         const Collectives* ranks_)
    : settings(run_settings), steps(steps_), ranks(ranks_),
      config_text(config_json(config).dump(2) + "\n") {
    CHECK(!settings.dir.empty(), "run.dir is missing: name the directory that the run shall write");
    find_checkpoint(config);
    if (finished()) return;
    for (const RunInput& input : inputs_of(config)) reads(input.key, input.path);
}

void Run::find_checkpoint(const Fields& config) {
    if (!file_exists(settings.dir)) return;
    CHECK(is_directory(settings.dir), "run.dir=%s is a file; name a directory",
          settings.dir.c_str());
    std::vector<std::string> names = list_directory(settings.dir);
    names.erase(std::remove_if(names.begin(), names.end(), is_leftover), names.end());
    if (names.empty()) return;
    CHECK(settings.resume,
          "run.dir=%s is not empty; continue it by run.resume=true, or name another directory",
          settings.dir.c_str());
    std::string saved = file("config.json");
    CHECK(file_exists(saved), "run.dir=%s is not a run directory: it holds %s but no config.json",
          settings.dir.c_str(), names[0].c_str());
    check_unchanged(config, saved);
    const auto complete = complete_checkpoints(settings.dir);
    for (size_t i = complete.size(); i-- > 0;) {
        step = complete[i].first;
        checkpoint = complete[i].second;
        Json state;
        read_state(checkpoint, state);
        ended = state.value("ended", false);
        if (finished()) return;
        const std::string damage = damage_in(checkpoint);
        if (damage.empty()) return;
        CHECK(i > 0, "%s, and there is no checkpoint before it; begin anew in another run.dir",
              damage.c_str());
        if (first())
            std::fprintf(stderr, "%s; going back to the checkpoint before it, %s\n", damage.c_str(),
                         complete[i - 1].second.c_str());
    }
}

void Run::reads(const std::string& key, const std::string& path) {
    const std::string hash = input_hash(path);
    if (hash.empty()) return;
    inputs[key] = hash;
    if (checkpoint.empty()) return;
    Json state;
    read_state(checkpoint, state);
    auto before = state.find("inputs"); // runs of older versions have none
    CHECK(before == state.end() || !before->contains(key) || (*before)[key] == hash,
          "%s=%s is not what %s was trained with: its content has changed; put it back as it was, "
          "or begin anew in another run.dir",
          key.c_str(), path.c_str(), checkpoint.c_str());
}

Run::~Run() {
    if (lock >= 0) ::close(lock);
}

std::string Run::file(const std::string& name) const { return join_path(settings.dir, name); }

void Run::begin() {
    if (lock >= 0) return;
    make_directories(settings.dir);
    // Two processes in one directory would spoil it; the system drops the lock of one that died.
    lock = ::open(settings.dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool taken = lock >= 0 && ::flock(lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    CHECK(!taken, "another process is at work in run.dir=%s", settings.dir.c_str());
    remove_leftovers(settings.dir);
    make_directories(file("checkpoints"));
    remove_leftovers(file("checkpoints"));
    write_file(file("config.json"), config_text);
    gpu_keep_choices(
        file("gemm_choices" + (ranks ? "-" + std::to_string(ranks->rank) : "") + ".txt"));
    metrics.open(file("metrics.jsonl"), step);
}

void Run::log(const Json& line) { metrics.write(dump_row(line)); }

bool Run::save_due(int64_t done) const {
    return done == steps || ended || (settings.save_every > 0 && done % settings.save_every == 0);
}

void Run::save(int64_t done, const Json& state,
               const std::function<void(const std::string&)>& write) {
    const bool goes_on =
        ranks && ranks->share_work() && failed_saves == 0 && done < steps && !ended;
    if (!goes_on)
        write_checkpoint(done, state, write);
    else if (const std::string error = attempt([&] { write_checkpoint(done, state, write); });
             !error.empty()) {
        ++failed_saves;
        if (first())
            std::fprintf(
                stderr,
                "the checkpoint of step %lld could not be written: %s. The run goes on; if "
                "the next one fails, too, it ends\n",
                (long long)done, error.c_str());
        return;
    }
    failed_saves = 0;
    step = done;
    checkpoint = file(format("checkpoints/%06lld", (long long)done));
    if (first()) remove_old();
}

// 1. the directory under a temporary name; 2. every rank's files in it, each forced to the disk; 3. the
// manifest, and the directory gets its name. Between these all ranks agree that the step has gone well.
void Run::write_checkpoint(int64_t done, const Json& state,
                           const std::function<void(const std::string&)>& write) {
    std::optional<AtomicDirectory> directory; // the first's
    std::string error, temporary;
    shards.clear();
    if (first())
        error = attempt([&] {
            metrics.sync();
            directory.emplace(file(format("checkpoints/%06lld", (long long)done)));
            temporary = directory->temporary;
        });
    agree(ranks, error);
    if (ranks && ranks->share_work()) temporary = ranks->gather(*ranks, temporary)[0];
    may_die();

    error = attempt([&] { write(temporary); });
    may_die();
    agree(ranks, error);
    Json pieces = Json::array();
    for (const Shard& shard : shards)
        pieces.push_back({{"file", shard.file.substr(temporary.size() + 1)},
                          {"bytes", shard.bytes},
                          {"crc32c", shard.crc32c}});
    if (ranks && ranks->share_work()) {
        const std::vector<std::string> all = ranks->gather(*ranks, pieces.dump());
        pieces = Json::array();
        for (const std::string& text : all)
            for (const Json& piece : parse_json(text, "the pieces of a rank"))
                pieces.push_back(piece);
    }
    may_die();

    error.clear();
    if (first())
        error = attempt([&] {
            Json sums = Json::object();
            std::vector<std::string> files;
            list_files(directory->temporary, "", files);
            for (const std::string& name : files)
                if (!is_shard(name)) sums[name] = file_hash(join_path(directory->temporary, name));
            Json all = {{"step", done}, {"state", state}, {"inputs", inputs}, {"files", sums}};
            if (!pieces.empty()) all["shards"] = pieces;
            if (ended) all["ended"] = true;
            write_file(join_path(directory->temporary, state_name), all.dump(2) + "\n");
            may_die();
            directory->commit();
        });
    agree(ranks, error);
    may_die();
}

void Run::remove_old() const {
    const auto complete = complete_checkpoints(settings.dir);
    for (size_t i = 0; i + settings.keep < complete.size(); ++i) {
        // Renamed first: a directory that is half removed must not look like a checkpoint.
        std::string old = complete[i].second + ".old";
        CHECK(::rename(complete[i].second.c_str(), old.c_str()) == 0, "cannot remove %s: %s",
              complete[i].second.c_str(), std::strerror(errno));
        may_die();
        remove_tree(old);
    }
}

Json Run::resumed_state() const {
    if (checkpoint.empty()) return nullptr;
    Json state;
    read_state(checkpoint, state);
    return state["state"];
}
