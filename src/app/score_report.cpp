#include "app/score_report.h"

#include <algorithm>
#include <cmath>
#include <map>

static void put(Json& report, const std::string& name, double value) {
    if (!std::isnan(value)) report[name] = value;
}

static double mean(const std::vector<double>& values) {
    double sum = 0;
    for (double value : values) sum += value;
    return values.empty() ? NAN : sum / (double)values.size();
}

static double deviation(const std::vector<double>& values) {
    double square = 0, centre = mean(values);
    for (double value : values) square += (value - centre) * (value - centre);
    return std::sqrt(square / (double)values.size());
}

static Json calibration_json(const std::vector<double>& gaps, double beta) {
    Calibration calibration = calibrate(gaps, beta, 5);
    Json bins = Json::array();
    for (const CalibrationBin& bin : calibration.bins)
        if (bin.count)
            bins.push_back(
                {{"predicted", bin.predicted}, {"observed", bin.observed}, {"count", bin.count}});
    return {{"beta", beta}, {"expected_error", calibration.expected_error}, {"bins", bins}};
}

static Json localisation_json(const Localisation& found) {
    return {{"wrong_answers", found.answers},
            {"largest_drop", found.largest_drop},
            {"lowest_token", found.lowest},
            {"centred_largest_drop", found.centred_drop},
            {"centred_lowest_token", found.centred_lowest},
            {"control_uniform", found.uniform},
            {"control_most_frequent_step", found.most_frequent},
            {"most_frequent_step", found.frequent_step + 1},
            {"first_wrong_step_counts", found.first_wrong}};
}

// For n = 1, 2, 4, .. as long as half of the prompts have so many answers; the others are left out.
static Json best_of_json(const std::vector<ScoredAnswer>& judged) {
    std::map<int, int> size;
    for (const ScoredAnswer& answer : judged) ++size[answer.group];
    Json list = Json::array();
    for (int n = 1;; n *= 2) {
        std::vector<ScoredAnswer> enough;
        for (const ScoredAnswer& answer : judged)
            if (size[answer.group] >= n) enough.push_back(answer);
        int64_t groups = std::count_if(size.begin(), size.end(),
                                       [&](const auto& group) { return group.second >= n; });
        if (2 * groups < (int64_t)size.size()) return list;
        list.push_back({{"n", n},
                        {"prompts", groups},
                        {"best_of", best_of(n, enough)},
                        {"drawn", best_of(1, enough)},
                        {"pass", pass_at(n, enough)}});
    }
}

Json score_report(const std::vector<ScoredRow>& rows, bool paired, double beta) {
    Json report = {{"answers", rows.size()}};
    std::vector<double> tokens, scores, gaps;
    std::vector<ScoredAnswer> judged;
    std::vector<JudgedAnswer> stepwise;
    for (const ScoredRow& row : rows) {
        scores.push_back(row.score);
        tokens.insert(tokens.end(), row.token_score.begin(), row.token_score.end());
        if (row.judged) judged.push_back(row);
        if (!row.steps.empty()) stepwise.push_back({row.token_score, row.steps});
    }
    report["score_mean"] = mean(scores);
    report["score_std"] = deviation(scores);
    report["token_score_std"] = deviation(tokens);
    if (paired)
        for (size_t i = 0; i < rows.size(); i += 2)
            gaps.push_back(rows[i].score - rows[i + 1].score);
    else
        gaps = gaps_within_groups(judged);
    if (!gaps.empty()) {
        report["pairs"] = gaps.size();
        put(report, "pair_accuracy", pair_accuracy(gaps));
        put(report, "gap_mean", mean(gaps));
        report["calibration"] = calibration_json(gaps, beta);
    }
    if (!judged.empty()) put(report, "auc", area_under_curve(judged));
    if (!judged.empty() && !paired) report["best_of"] = best_of_json(judged);
    if (!stepwise.empty()) report["localisation"] = localisation_json(localise(stepwise));
    return report;
}

std::string score_text(const Json& report) {
    std::string text;
    auto line = [&](const std::string& name, const std::string& value) {
        text += format("%-28s %s\n", name.c_str(), value.c_str());
    };
    auto value_text = [](const Json& value) {
        return value.is_number_float() ? format("%.4f", value.get<double>()) : value.dump();
    };
    for (auto& [name, value] : report.items()) {
        if (name == "best_of") {
            for (const Json& row : value)
                line(format("best of %d", row["n"].get<int>()),
                     format("%.4f   (drawn at random %.4f, pass@%d %.4f)",
                            row["best_of"].get<double>(), row["drawn"].get<double>(),
                            row["n"].get<int>(), row["pass"].get<double>()));
        } else if (name == "calibration") {
            line("calibration, mean error",
                 format("%.4f   of p = sigma(%g gap)", value["expected_error"].get<double>(),
                        value["beta"].get<double>()));
            for (const Json& bin : value["bins"])
                line(format("  p %.3f", bin["predicted"].get<double>()),
                     format("%.4f   (%d pairs)", bin["observed"].get<double>(),
                            bin["count"].get<int>()));
        } else if (value.is_object()) {
            for (auto& [inner, number] : value.items())
                line(name + " " + inner, value_text(number));
        } else {
            line(name, value_text(value));
        }
    }
    return text;
}
