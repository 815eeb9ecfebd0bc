#pragma once
// rlhf eval predictions=F: the metrics of WISE's sub-tasks from a file of gold and predicted turns, without a
// network.

#include "base/config.h"

struct WiseEvalSettings { // wise.*
    bool released = false;
    void visit(Fields& v) {
        v.field("released", released,
                "predictions: averages as the authors' code takes them (classes + 1, turns without "
                "a keyphrase left out, BLEU smoothed)");
    }
};

// The metrics as one object; rows that are no predictions are errors that name file, line and field.
Json eval_predictions(const std::string& path, const WiseEvalSettings& settings);
