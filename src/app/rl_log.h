#pragma once
// What a run of rl says of itself: a line of metrics per step, the doctor's findings, stored
// rollouts, progress. It reads what the stations returned and changes nothing. The names of the
// numbers are rl/metric_table.cpp's.

#include "app/rl_learner.h"
#include "base/log.h"
#include "report/tensorboard.h"

#include <set>

// What the stations of one step returned.
struct StepResults {
    int64_t step;
    const Batch& batch;
    const StepCredit& credit;
    const Consulted& consulted;
    Rollouts numbers; // as the update saw them
    const Selection& kept;
    const Updated& update;
    double seconds; // of all stations
};

struct RlLog {
    // Opens the event file and makes the folder of stored rollouts. All are of a run that has
    // begun. Of several ranks one speaks; the others compute what all have to compute together.
    RlLog(Run& run, const RlConfig& config, bool speaks);

    // pass@1 and what goes with it, on standard error and, under this prefix, on the next step's
    // line. Without held-out problems nothing is done; returns pass@1 or 0.
    double evaluate(Learner& learner, const char* prefix, const std::string& when);
    // Evaluates where it is due, writes metrics, events and rollouts/STEP.jsonl.
    void write(const StepResults& results, Learner& learner);
    // The last words, on standard output.
    void end(const Learner& learner) const;

private:
    void tell(const std::string& message);
    Run& run;
    const RlConfig& config;
    const bool speaks;
    EventLog events;
    std::optional<Progress> progress;
    Json evaluated = Json::object(); // since the last line
    double pass_after = 0;
    bool warned = false; // of a judge that cannot be read
    void warn_of_judges(const StepCredit& credit);
    void write_timeline(int64_t step, Learner& learner);
    void append(const std::string& path, int64_t step, const std::string& rows);
    std::set<std::string> appended; // files
};

// The numbers of a step but those of an evaluation, of the doctor and of the clock.
Json step_line(const StepResults& results);
