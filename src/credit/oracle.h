#pragma once
// A judge that is an exact program: it knows which steps are wrong and errs as often as it is told,
// so that what a judge's errors do to training can be seen without training a judge.
//
//   recall      a wrong step is called wrong with this probability
//   precision   a right step is called wrong with probability q, the same for all, such that of
//               the steps that are called wrong this share is expected to be wrong:
//               q = min(1, recall W/R (1 - precision)/precision)
//               W wrong and R right steps of the batch
//
// or, of steps that the task sorts into kinds, one rate of errors per kind (trm: the four cases of a
// sentence), so that a hole in one of them can be made on purpose.
//
// Its errors depend on the seed and the text alone: the same answer is judged the same way again.

#include "credit/sources.h"

// The steps of every completion, as `steps` gives them, with what the judge says of each.
std::vector<std::vector<StepSpan>>
judge_steps(const Completions& batch, const std::function<std::vector<StepSpan>(int i)>& steps,
            const JudgeKeys& judge);
