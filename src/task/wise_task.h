#pragma once
// The tasks wise (files in the authors' format) and mini_wise (made up): turns of the wizard, and in form
// generate (task/wise_text.h) the task of writing them.

#include "task/mini_wise.h"
#include "task/task.h"
#include "task/wise_text.h"

struct WiseExample {
    std::shared_ptr<const WiseConversation> conversation; // what `turn` points into
    std::shared_ptr<const WisePassages> texts;            // of its candidates
    WiseTurn turn;
    bool labelled(WiseStage stage) const;
};

// The turns of a split, as Task has problems.
struct WiseTurns {
    std::function<int64_t(Split)> count;
    std::function<WiseExample(Split, int64_t i)> example;
};
WiseTurns wise_examples(const TaskConfig& config);

// The stages that are asked of an example: those that have labels.
WiseStages asked_stages(const WiseExample& example);
WiseTextLimits text_limits(const WiseSettings& settings);
// "Before the search" asks for intent and keyphrases alone and shows no candidates.
constexpr WiseStages before_search{true, true, false, false, false, false};
