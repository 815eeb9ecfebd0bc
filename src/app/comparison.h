#pragma once
// What a comparison's arms came to: curves of a metric over updates, per seed, and what is read off them.
//
//   smoothed   at an evaluation: mean of it and of up to two before it
//   end        the last smoothed value          best   the largest
//   to target  updates until the smoothed value reaches the target; on the grid of the evaluations
//   interval   mean +- t(0.975, n - 1) s / sqrt(n) over n seeds; paired: of the differences seed by seed

#include "base/json.h"

#include <string>
#include <vector>

struct Curve { // of one seed
    std::vector<double> update, value, smoothed;
    double end() const { return smoothed.back(); }
    double best() const;
    double to(double target) const; // NaN: never
};

// metric from the lines of metrics.jsonl that have it; its value before the first step, "eval_before_...", is
// update 0. Errors: no line has it.
Curve read_curve(const std::string& run, const std::string& metric);

bool has_metric(const std::string& run, const std::string& metric);

struct Interval {
    double mean = 0, low = 0, high = 0; // low = high = mean for one value
};
Interval interval_of(const std::vector<double>& values); // NaN entries are left out

struct Arm {
    std::string name;
    std::vector<std::string> runs; // (seeds) directories
    std::vector<Curve> curves;     // (seeds)
};

// Of the last JSON object in a command's log, the number at "a.b"; NaN where it has none.
double figure_in_log(const std::string& log, const std::string& path);

// Mean over the seeds of the value at each update, with its interval.
struct MeanCurve {
    std::vector<double> update, mean, low, high;
};
MeanCurve mean_curve(const Arm& arm);
