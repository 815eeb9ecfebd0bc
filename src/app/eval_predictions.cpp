#include "app/eval_predictions.h"

#include "task/wise_metrics.h"

Json eval_predictions(const std::string& path, const WiseEvalSettings& settings) {
    std::vector<WisePrediction> turns;
    for_each_row(path, [&](const Json& row, const std::string& where) {
        turns.push_back(parse_wise_prediction(row, where));
    });
    return wise_metrics(turns, settings.released);
}
