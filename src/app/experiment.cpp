#include "app/experiment.h"

#include "base/file.h"
#include "base/log.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <sys/wait.h>
#include <unistd.h>

static std::vector<JobConfig::Bound> read_bounds(const Json& given, const std::string& where) {
    std::vector<JobConfig::Bound> bounds;
    CHECK(given.is_object(), "%s: \"bounds\" must be {figure: [low, high]}, found %s",
          where.c_str(), dump_row(given).c_str());
    for (const auto& [figure, range] : given.items()) {
        CHECK(range.is_array() && range.size() == 2 && range[0].is_number() && range[1].is_number(),
              "%s: the bounds of \"%s\" must be [low, high], found %s", where.c_str(),
              figure.c_str(), dump_row(range).c_str());
        bounds.push_back({figure, range[0].get<double>(), range[1].get<double>()});
    }
    return bounds;
}

std::vector<JobConfig> read_jobs(const Json& list, const char* key) {
    CHECK(list.is_array(), "%s must be a list of {\"name\", \"run\": [words]}", key);
    std::vector<JobConfig> jobs;
    for (size_t i = 0; i < list.size(); ++i) {
        const std::string where = format("%s[%zu]", key, i);
        JobConfig job;
        CHECK(list[i].is_object(), "%s must be an object", where.c_str());
        for (const auto& [name, value] : list[i].items())
            CHECK(name == "name" || name == "run" || name == "shared" || name == "figures" ||
                      name == "bounds",
                  "%s: unknown key \"%s\"; an entry has name, run, shared, figures and bounds",
                  where.c_str(), name.c_str());
        auto words = [&](const char* name) {
            std::vector<std::string> out;
            const Json given = list[i].value(name, Json::array());
            CHECK(given.is_array(), "%s: \"%s\" must be a list of words", where.c_str(), name);
            for (const Json& word : given) {
                CHECK(word.is_string(), "%s: \"%s\" must be a list of words, found %s",
                      where.c_str(), name, dump_row(word).c_str());
                out.push_back(word.get<std::string>());
            }
            return out;
        };
        job.name = json_string_or(list[i], "name", "", where);
        job.run = words("run"), job.figures = words("figures");
        const Json shared = list[i].value("shared", Json(false));
        CHECK(shared.is_boolean(), "%s: \"shared\" must be true or false", where.c_str());
        job.shared = shared.get<bool>();
        job.bounds = read_bounds(list[i].value("bounds", Json::object()), where);
        CHECK(!job.name.empty() && job.name.find('/') == std::string::npos && job.name != "self" &&
                  job.name != "seed",
              "%s: \"name\" must be a name for its directory, found \"%s\"", where.c_str(),
              job.name.c_str());
        CHECK(!job.run.empty(),
              "%s: \"run\" must be the words of a command, as [\"rl\", \"CONFIG\"]", where.c_str());
        jobs.push_back(std::move(job));
    }
    return jobs;
}

// Fills {..} in a word and lists the jobs that it names.
static std::string fill(const std::string& word, const Job& job,
                        const std::map<std::string, size_t>& known, const std::vector<Job>& jobs,
                        std::vector<size_t>& named) {
    std::string out;
    for (size_t at = 0; at < word.size(); ++at) {
        // a name in braces; other braces belong to JSON
        const size_t close = word[at] == '{' ? word.find('}', at) : std::string::npos;
        const std::string name =
            close == std::string::npos ? "" : word.substr(at + 1, close - at - 1);
        const bool is_name = !name.empty() && name.find_first_of(" \":,{[") == std::string::npos;
        if (!is_name) {
            out += word[at];
            continue;
        }
        at = close;
        if (name == "self") {
            out += job.directory;
        } else if (name == "seed") {
            CHECK(job.seed >= 0, "%s is shared by all seeds and cannot use {seed}",
                  job.config->name.c_str());
            out += std::to_string(job.seed);
        } else {
            auto found = known.find(name);
            CHECK(found != known.end(), "%s: {%s} in \"%s\" is no job that comes before it",
                  job.config->name.c_str(), name.c_str(), word.c_str());
            CHECK(job.seed >= 0 || jobs[found->second].seed < 0,
                  "%s is shared by all seeds and cannot use {%s}, which every seed makes anew",
                  job.config->name.c_str(), name.c_str());
            named.push_back(found->second);
            out += jobs[found->second].directory;
        }
    }
    return out;
}

std::vector<Job> plan_jobs(const std::vector<JobConfig>& configs, int64_t seeds,
                           const std::string& out) {
    std::vector<Job> jobs;
    std::map<std::string, size_t> shared;
    for (size_t i = 0; i < configs.size(); ++i)
        for (size_t j = 0; j < i; ++j)
            CHECK(configs[i].name != configs[j].name, "two jobs have the name %s",
                  configs[i].name.c_str());
    for (int64_t seed = 0; seed < seeds; ++seed) {
        std::map<std::string, size_t> known = shared;
        for (const JobConfig& config : configs) {
            if (config.shared && seed > 0) continue;
            Job job;
            job.config = &config, job.seed = config.shared ? -1 : seed;
            const std::string folder =
                config.shared ? "shared" : format("seed-%lld", (long long)seed);
            job.directory = join_path(join_path(out, folder), config.name);
            for (const std::string& word : config.run)
                job.words.push_back(fill(word, job, known, jobs, job.waits_for));
            known[config.name] = jobs.size();
            if (config.shared) shared[config.name] = jobs.size();
            jobs.push_back(std::move(job));
        }
    }
    return jobs;
}

static std::string command_line(const Job& job) {
    std::string line;
    for (const std::string& word : job.words) line += (line.empty() ? "" : " ") + word;
    return line + "\n";
}

static bool is_done(const Job& job) {
    if (!file_exists(job.done())) return false;
    const std::string before = read_file(job.done());
    CHECK(before == command_line(job),
          "%s was made by another command:\n  %s  now it would be\n  %s  Remove %s and what was "
          "made from "
          "it, or choose another out.",
          job.directory.c_str(), before.c_str(), command_line(job).c_str(), job.done().c_str());
    return true;
}

static pid_t start(const Job& job) {
    make_directories(job.directory.substr(0, job.directory.rfind('/')));
    const pid_t pid = ::fork();
    CHECK(pid >= 0, "cannot start a process: %s", std::strerror(errno));
    if (pid > 0) return pid;
    const int log = ::open(job.log().c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    ::dup2(log, STDOUT_FILENO), ::dup2(log, STDERR_FILENO);
    std::string self = "/proc/self/exe";
    std::vector<char*> argv = {self.data()};
    for (const std::string& word : job.words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    ::execv(self.c_str(), argv.data());
    ::_exit(127);
}

void run_jobs(const std::vector<Job>& jobs, int at_once,
              const std::function<std::string(const Job&)>& wrong) {
    enum { waiting, running, done };
    std::vector<int> state;
    for (const Job& job : jobs) state.push_back(is_done(job) ? done : waiting);
    std::map<pid_t, size_t> alive;
    int64_t finished = std::count(state.begin(), state.end(), (int)done);
    Progress progress("reproduce", "jobs", (int64_t)jobs.size(), finished);
    std::string failure;
    while (true) {
        for (size_t j = 0; j < jobs.size() && failure.empty() && (int)alive.size() < at_once; ++j) {
            auto ready = [&](size_t needed) { return state[needed] == done; };
            const std::vector<size_t>& needs = jobs[j].waits_for;
            if (state[j] != waiting || !std::all_of(needs.begin(), needs.end(), ready)) continue;
            alive[start(jobs[j])] = j;
            state[j] = running;
        }
        if (alive.empty()) break;
        int status = 0;
        const pid_t pid = ::waitpid(-1, &status, 0);
        CHECK(pid > 0, "waiting for a process failed: %s", std::strerror(errno));
        auto at = alive.find(pid);
        if (at == alive.end()) continue;
        const Job& job = jobs[at->second];
        const std::string name = job.directory;
        const bool ended_well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        const std::string fault = ended_well ? wrong(job) : "";
        if (!fault.empty()) {
            if (failure.empty())
                failure = format("%s; %s has the rest", fault.c_str(), job.log().c_str());
        } else if (ended_well) {
            write_file(job.done(), command_line(job));
            state[at->second] = done;
            progress.update(++finished, name);
        } else if (failure.empty()) {
            failure = format("%s failed; %s says why. Its command was\n  rlhf %s", name.c_str(),
                             job.log().c_str(), command_line(job).c_str());
        }
        alive.erase(at);
    }
    CHECK(failure.empty(), "%s", failure.c_str());
}
