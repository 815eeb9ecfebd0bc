#pragma once
// Does a token score find the step where an answer went wrong? Over the answers with a wrong step:
//
//   largest drop    share in which the token t >= 1 with the largest Z_{t-1} - Z_t lies in the first wrong step
//   lowest token    share in which the token with the smallest Z lies there
//   centred         both again after the mean of Z at each position, over all answers, was taken off:
//                   what is left when a head gives some positions higher scores than others
//
// and what such a number has to be compared with:
//
//   uniform         a token drawn at random: mean share of the tokens that lie in the first wrong step
//   most frequent   always naming the step that is most often the first wrong one
//
// Ties go to the first token. The third control, a policy's own log-probability as score, is the
// same measure on another model's scores.

#include "credit/steps.h"

#include <cstdint>

struct JudgedAnswer {
    std::vector<double> score;   // Z, one per token
    std::vector<StepSpan> steps; // without gaps from 0 to the end
};

struct Localisation {
    int64_t answers = 0; // with a wrong step: what the shares below are of
    double largest_drop = 0, lowest = 0, centred_drop = 0, centred_lowest = 0;
    double uniform = 0, most_frequent = 0;
    int frequent_step = 0;            // counted from 0
    std::vector<int64_t> first_wrong; // answers whose first wrong step is 0, 1, ..
};
// Right answers count for the position means alone.
Localisation localise(const std::vector<JudgedAnswer>& answers);
