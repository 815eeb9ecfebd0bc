#pragma once
// rlhf report: a run on one page. What ran and how it came out, curves, where the time went, whether a law
// was ever broken, sample completions, the configuration.

#include "base/json.h"
#include "report/explain.h"
#include "report/timeline.h"
#include "report/wise.h"

#include <functional>
#include <optional>

struct Setting { // of the effective configuration
    std::string path, value, standard, help;
    bool departs() const { return value != standard; }
};

struct Law { // of the doctor
    std::string name, verdict, text;
    bool broken = false;
};

struct SampleRollout {
    int64_t step;
    std::string kind; // best, typical, worst
    double reward;
    std::string prompt, completion, reason, finish;
};

struct RunRecord {
    std::string name, summary;
    std::vector<std::pair<std::string, std::string>> facts;
    std::vector<Json> metrics; // lines of metrics.jsonl, in order
    // What a metric says, by its name; "" where it is not known.
    std::function<std::string(const std::string&)> meaning;
    std::vector<Law> laws; // on the last stored rollouts, made again from their numbers
    int64_t laws_step = 0;
    std::vector<SampleRollout> samples;
    std::vector<Setting> settings;
    std::optional<ExplainPage> tokens;  // a few completions, token by token
    std::optional<WiseRecord> wise;     // turns of conversational search
    std::vector<TimelineSpan> timeline; // of several ranks; of the run's last steps
    std::string placement;              // who generated and who judged in these, in words
};

std::string report_html(const RunRecord& record);

// One metric over the run: the steps that have it. low, high: "NAME_low", "NAME_high", where they are.
struct Column {
    std::vector<double> step, value, low, high;
};
Column metric_column(const std::vector<Json>& metrics, const std::string& name);
// Mean over the `width` values up to each.
std::vector<double> trailing_mean(const std::vector<double>& values, size_t width);
// "3, 7, 9 to 12 and 4 more"
std::string step_list(const std::vector<int64_t>& steps);
