#include "credit/localise.h"

#include "base/check.h"

#include <algorithm>

static const StepSpan* first_wrong(const JudgedAnswer& answer) {
    for (const StepSpan& step : answer.steps)
        if (!step.right) return &step;
    return nullptr;
}

static int lowest_token(const std::vector<double>& z) {
    return (int)(std::min_element(z.begin(), z.end()) - z.begin());
}

// The token behind the largest fall; a single token has no fall and is its own.
static int dropped_token(const std::vector<double>& z) {
    int best = z.size() > 1 ? 1 : 0;
    for (int t = 2; t < (int)z.size(); ++t)
        if (z[t - 1] - z[t] > z[best - 1] - z[best]) best = t;
    return best;
}

static std::vector<double> position_means(const std::vector<JudgedAnswer>& answers) {
    std::vector<double> sum, count;
    for (const JudgedAnswer& answer : answers) {
        if (answer.score.size() > sum.size())
            sum.resize(answer.score.size()), count.resize(answer.score.size());
        for (size_t t = 0; t < answer.score.size(); ++t) sum[t] += answer.score[t], ++count[t];
    }
    for (size_t t = 0; t < sum.size(); ++t) sum[t] /= count[t];
    return sum;
}

Localisation localise(const std::vector<JudgedAnswer>& answers) {
    Localisation found;
    const std::vector<double> means = position_means(answers);
    for (const JudgedAnswer& answer : answers) {
        CHECK(!answer.steps.empty() && answer.steps.back().end == (int)answer.score.size(),
              "the steps of an answer end at token %d of %zu",
              answer.steps.empty() ? 0 : answer.steps.back().end, answer.score.size());
        const StepSpan* wrong = first_wrong(answer);
        if (!wrong) continue;
        std::vector<double> centred = answer.score;
        for (size_t t = 0; t < centred.size(); ++t) centred[t] -= means[t];
        auto inside = [&](int token) { return token >= wrong->begin && token < wrong->end; };
        ++found.answers;
        found.largest_drop += inside(dropped_token(answer.score));
        found.lowest += inside(lowest_token(answer.score));
        found.centred_drop += inside(dropped_token(centred));
        found.centred_lowest += inside(lowest_token(centred));
        found.uniform += (wrong->end - wrong->begin) / (double)answer.score.size();
        const size_t index = (size_t)(wrong - answer.steps.data());
        if (found.first_wrong.size() <= index) found.first_wrong.resize(index + 1);
        ++found.first_wrong[index];
    }
    if (!found.answers) return found;
    const double all = (double)found.answers;
    for (double* share : {&found.largest_drop, &found.lowest, &found.centred_drop,
                          &found.centred_lowest, &found.uniform})
        *share /= all;
    auto most = std::max_element(found.first_wrong.begin(), found.first_wrong.end());
    found.frequent_step = (int)(most - found.first_wrong.begin());
    found.most_frequent = (double)*most / all;
    return found;
}
