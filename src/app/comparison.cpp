#include "app/comparison.h"

#include "app/explain/stored_run.h"
#include "base/file.h"

#include <algorithm>
#include <cmath>

double Curve::best() const { return *std::max_element(smoothed.begin(), smoothed.end()); }

double Curve::to(double target) const {
    for (size_t k = 0; k < smoothed.size(); ++k)
        if (smoothed[k] >= target) return update[k];
    return NAN;
}

Curve read_curve(const std::string& run, const std::string& metric) {
    const std::string path = join_path(run, "metrics.jsonl");
    const std::string before = "eval_before_" + metric.substr(metric.find('_') + 1);
    Curve curve;
    auto add = [&](double update, const Json& value) {
        curve.update.push_back(update), curve.value.push_back(value.get<double>());
        const size_t n = curve.value.size(), width = std::min<size_t>(3, n);
        double sum = 0;
        for (size_t k = n - width; k < n; ++k) sum += curve.value[k];
        curve.smoothed.push_back(sum / (double)width);
    };
    for (const Json& line : read_metrics(path)) {
        if (line.contains(before)) add(0, line[before]);
        if (line.contains(metric)) add((double)json_int(line, "step", path), line[metric]);
    }
    CHECK(!curve.value.empty(), "%s has no \"%s\"; arms need evaluations (train.eval_every)",
          path.c_str(), metric.c_str());
    return curve;
}

bool has_metric(const std::string& run, const std::string& metric) {
    for (const Json& line : read_metrics(join_path(run, "metrics.jsonl")))
        if (line.contains(metric)) return true;
    return false;
}

// Student's t, two-sided 95 %.
static double t_quantile(size_t degrees) {
    static const double table[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365,
                                   2.306,  2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
                                   2.131,  2.120, 2.110, 2.101, 2.093, 2.086};
    return degrees <= std::size(table) ? table[degrees - 1] : 1.96 + 2.5 / (double)degrees;
}

Interval interval_of(const std::vector<double>& values) {
    std::vector<double> x;
    for (double v : values)
        if (std::isfinite(v)) x.push_back(v);
    if (x.empty()) return {NAN, NAN, NAN};
    double mean = 0, square = 0;
    for (double v : x) mean += v / (double)x.size();
    for (double v : x) square += (v - mean) * (v - mean);
    if (x.size() == 1) return {mean, mean, mean};
    const double n = (double)x.size();
    const double half = t_quantile(x.size() - 1) * std::sqrt(square / (n - 1) / n);
    return {mean, mean - half, mean + half};
}

double figure_in_log(const std::string& log, const std::string& path) {
    const std::string text = read_file(log);
    Json found;
    for (size_t begin = 0; begin < text.size();) {
        size_t end = std::min(text.find('\n', begin), text.size());
        if (text[begin] == '{') {
            Json json = Json::parse(text.substr(begin, end - begin), nullptr, false);
            if (json.is_object()) found = std::move(json);
        }
        begin = end + 1;
    }
    for (size_t begin = 0; begin <= path.size();) {
        size_t end = std::min(path.find('.', begin), path.size());
        const std::string key = path.substr(begin, end - begin);
        if (!found.is_object() || !found.contains(key)) return NAN;
        Json inner = found[key];
        found = std::move(inner);
        begin = end + 1;
    }
    return found.is_number() ? found.get<double>() : NAN;
}

MeanCurve mean_curve(const Arm& arm) {
    MeanCurve mean;
    for (size_t k = 0; k < arm.curves[0].update.size(); ++k) {
        std::vector<double> values;
        for (const Curve& curve : arm.curves)
            if (k < curve.value.size()) values.push_back(curve.value[k]);
        const Interval interval = interval_of(values);
        mean.update.push_back(arm.curves[0].update[k]), mean.mean.push_back(interval.mean);
        mean.low.push_back(interval.low), mean.high.push_back(interval.high);
    }
    return mean;
}
