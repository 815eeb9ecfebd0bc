#pragma once
// A model as judge of the completions that a step of rl has drawn.

#include "app/judge/kinds.h"
#include "credit/sources.h"

// What one judge said of them.
struct JudgedBatch {
    std::string source;          // its name in the list credit
    std::vector<Judgement> said; // (I)
    // (I) what rlhf judge writes of each: critiques, votes, ..; null where it was passed over
    std::vector<Json> words;
    JudgeCounts counts;
};

// A completion with its prompt's problem.
struct LoopAnswer {
    const Problem& problem;
    std::span<const int32_t> prompt_ids;
    const std::vector<int32_t>& completion;
    bool finished = true;
};

// What the judge is asked of them; an answer of which it is not asked has no question.
struct LoopQuestions {
    std::vector<AnswerToJudge> answers;
    std::vector<size_t> asked; // answers that have one
    std::vector<JudgeQuestion> questions;
};
// wanted (I): 0, it is passed over; empty: none is.
LoopQuestions loop_questions(const ModelJudge& judge, const std::vector<LoopAnswer>& completions,
                             const Tokenizer& policy, const Task& task,
                             std::span<const uint8_t> wanted = {});

// policy: the tokenizer of the completions. task: it cuts and checks answers where it can check
// steps.
JudgedBatch judge_batch(ModelJudge& judge, const std::string& source,
                        const std::vector<LoopAnswer>& answers, const Tokenizer& policy,
                        const Task& task, std::span<const uint8_t> wanted = {});
