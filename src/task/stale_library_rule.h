#pragma once
// What a completion in the library of stale documents is worth, by the exact rule, and the figures of
// many of them.

#include "task/stale_library.h"
#include "task/task.h"

#include <optional>

// know: the one value. judge: every correctness right. answer: every request answered rightly and nothing
// wrong said.
Verdict verify_library(const Library& library, const LibraryQuestion& question,
                       const std::vector<int32_t>& completion);
// Of a judge a step is a verdict, of an answer a sentence; each with its case as its kind.
std::vector<StepVerdict> library_steps(const Library& library, const LibraryQuestion& question,
                                       const std::vector<int32_t>& completion);
// What a judge wrote beside what is true; none, with the reason, if it cannot be read.
std::optional<std::vector<JudgedSentence>> judged_sentences(const Library& library,
                                                            const LibraryQuestion& question,
                                                            const std::vector<int32_t>& completion,
                                                            std::string& why_not);
// Of judges and of answers, whichever there are.
std::vector<TaskFigure> library_figures(const Library& library,
                                        const std::vector<Answered>& answers);
