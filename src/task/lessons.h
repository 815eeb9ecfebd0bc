#pragma once
// What models that judge reasoning learn from: a row, and what should follow it against what should
// not. Of a reranker the two are its words, yes and no.

#include "task/task.h"

struct ReasoningLesson {
    std::vector<int32_t> prompt_ids, chosen_ids, rejected_ids;
};

// Of problem i of chain_lookup, for its judge of relevance or coherence; another task is an error.
std::vector<ReasoningLesson> reasoning_lessons(const TaskConfig& config, const std::string& judge,
                                               Split split, int64_t i);
