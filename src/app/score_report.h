#pragma once
// The figures that rlhf score prints.

#include "base/json.h"
#include "credit/localise.h"
#include "credit/ranking.h"

struct ScoredRow : ScoredAnswer {
    std::vector<double> token_score;
    bool judged = false;         // `right` is known
    std::vector<StepSpan> steps; // empty: not checked
};

// rows: of pairs, chosen and rejected in turn. Figures that the rows do not allow are left out.
Json score_report(const std::vector<ScoredRow>& rows, bool paired, double beta);
std::string score_text(const Json& report);
