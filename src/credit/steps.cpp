#include "credit/steps.h"

#include <algorithm>
#include <cmath>

std::vector<double> spread_steps(std::span<const double> score, std::span<const StepSpan> steps) {
    std::vector<double> x(score.size());
    for (const StepSpan& step : steps)
        std::fill(x.begin() + step.begin, x.begin() + step.end, std::tanh(score[step.end - 1]));
    return x;
}

std::vector<double> step_labels(std::span<const StepSpan> steps, size_t length) {
    std::vector<double> x(length);
    for (const StepSpan& step : steps)
        std::fill(x.begin() + step.begin, x.begin() + step.end, step.right ? 1.0 : -1.0);
    return x;
}
