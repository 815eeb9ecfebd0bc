#pragma once
// A comparison of many runs: stages that make what the arms start from, and arms that are compared, for every
// seed. Each is a command of this binary in a process of its own, with its own directory and log.
//
//     OUT/shared/NAME/      a stage with "shared": true, made once
//     OUT/seed-0/NAME/      the others; NAME.log beside it holds what the command printed
//     OUT/.../NAME.done     the command line, written when it has ended well: it is not run again
//
// In a command's words, {NAME} is the directory of another job, {self} the job's own, {seed} the seed. A job
// waits for those that its words name.

#include "base/json.h"

#include <functional>
#include <string>
#include <vector>

struct JobConfig { // an entry of the lists stages and arms
    std::string name;
    std::vector<std::string> run; // the command's words
    bool shared = false;          // once for all seeds
    // Of the JSON object that the command prints last, for the table.
    std::vector<std::string> figures;
    struct Bound {
        std::string figure; // of a stage, as in figures; of an arm, "start" or "end" of the metric
        double low, high;
    };
    std::vector<Bound> bounds; // "bounds": {figure: [low, high]}: what has to come out
};

struct Job {
    const JobConfig* config = nullptr;
    int64_t seed = -1; // -1: shared
    std::string directory;
    std::vector<std::string> words; // with every {..} filled in
    std::vector<size_t> waits_for;
    std::string log() const { return directory + ".log"; }
    std::string done() const { return directory + ".done"; }
};

// Errors name the entry: a missing key, two of one name, {NAME} of no job, or of one that comes later.
std::vector<JobConfig> read_jobs(const Json& list, const char* key);
std::vector<Job> plan_jobs(const std::vector<JobConfig>& configs, int64_t seeds,
                           const std::string& out);
// Runs what is not done, at most `at_once` processes together. A job that fails, or of which `wrong` says
// something, ends the comparison once the others in flight are through; the error names its log. What is done
// stays done.
void run_jobs(const std::vector<Job>& jobs, int at_once,
              const std::function<std::string(const Job&)>& wrong);
