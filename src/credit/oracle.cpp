#include "credit/oracle.h"

#include "base/rng.h"

#include <algorithm>

static uint64_t key_of(const ScoredText& text) {
    uint64_t key = (uint64_t)text.first;
    for (int32_t id : text.ids) key = mix64(key ^ (uint64_t)(uint32_t)id);
    return key;
}

std::vector<std::vector<StepSpan>>
judge_steps(const Completions& batch, const std::function<std::vector<StepSpan>(int i)>& steps,
            const JudgeKeys& judge) {
    std::vector<std::vector<StepSpan>> judged;
    double right = 0, wrong = 0;
    for (int i = 0; i < (int)batch.texts.size(); ++i) {
        judged.push_back(steps(i));
        for (const StepSpan& step : judged.back()) ++(step.right ? right : wrong);
    }
    double false_alarm = 0;
    if (right > 0 && judge.precision < 1)
        false_alarm = judge.precision > 0
                          ? std::min(1.0, judge.recall * wrong / right * (1 - judge.precision) /
                                              judge.precision)
                          : 1;
    for (size_t i = 0; i < judged.size(); ++i) {
        Rng rng((uint64_t)judge.seed, key_of(batch.texts[i]));
        for (StepSpan& step : judged[i]) {
            const bool in_a_case = step.kind >= 0 && step.kind < (int)judge.errors.size();
            const double wrong_call = step.right ? false_alarm : judge.recall;
            const double u = rng.uniform();
            step.right = in_a_case ? (u < judge.errors[step.kind]) != step.right : u >= wrong_call;
        }
    }
    return judged;
}
