#pragma once
// How well the scores of whole answers rank them: pairs, all answers of right and wrong, the best
// of n, and whether the probability that a score gap stands for is right.

#include <vector>

struct ScoredAnswer {
    int group = 0; // answers to one prompt
    double score = 0;
    bool right = false;
};

// Share of gaps (score of the better answer minus the worse one's) above 0, ties half.
double pair_accuracy(const std::vector<double>& gaps);
// Score gaps of every right answer to every wrong answer of the same group.
std::vector<double> gaps_within_groups(const std::vector<ScoredAnswer>& answers);
// Probability that a right answer scores higher than a wrong one, over all groups, ties half; NAN
// where one of them is missing. The area under the ROC curve.
double area_under_curve(std::vector<ScoredAnswer> answers);

// Mean over groups of the probability that the highest-scored of n answers, drawn from the group
// without replacement, is right; ties are broken by lot. Groups of fewer than n leave. n = 1 is
// pass@1. NAN: no group.
//   P(the best is in a block of equal scores) = [C(lower + block, n) - C(lower, n)] / C(N, n)
double best_of(int n, const std::vector<ScoredAnswer>& answers);
// The same for a judge that knows: pass@n.
double pass_at(int n, const std::vector<ScoredAnswer>& answers);

// Reliability of p = sigma(beta |gap|) as probability that the higher-scored answer is the better
// one, by bins of p between 0.5 and 1; ties count half.
struct CalibrationBin {
    double predicted = 0, observed = 0; // means over the bin
    int count = 0;
};
struct Calibration {
    std::vector<CalibrationBin> bins;
    double expected_error = 0; // sum over bins of count / all |predicted - observed|
};
Calibration calibrate(const std::vector<double>& gaps, double beta, int bins);
