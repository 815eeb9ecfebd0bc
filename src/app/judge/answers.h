#pragma once
// Answers to be judged, as rows give them.

#include "app/judge/model_judge.h"
#include "text/segments.h"

// What the row itself says of a sentence; -1: it does not.
struct SentenceLabels {
    int faithful = -1, correct = -1;
    std::string reason{};
};

struct AnswerToJudge {
    Json source;       // the row as it was read
    std::string where; // "file:line"
    std::string question, response;
    std::vector<Segment> segments;        // of the response
    bool has_ids = false;                 // the row gives the response's tokens, and
    std::vector<int> token_segment{};     // (tokens) their segments
    bool stored = false;                  // the row gives what a judge wrote, in
    std::vector<JudgeText> texts{};       // the judge's words: k critiques, or verdicts
    bool truncated = false;               // at the length limit
    std::vector<StepVerdict> rule{};      // (segments) what the task says of them; empty: nothing
    std::vector<SentenceLabels> labels{}; // (segments) likewise the row; empty: nothing

    JudgeQuestion asked() const;
};

// What reading needs. ids: gives prompt_ids and completion_ids their bytes; null: they are passed
// over. task: cuts answers and checks their steps; null: none does.
struct AnswerReader {
    const JudgeSettings& settings;
    const Tokenizer* ids = nullptr;
    const Task* task = nullptr;
    // {"question"|"prompt", "response"|"answer", ..}, or a stored rollout with its ids and "text".
    // problem: the task's that it answers; null: made of the row.
    AnswerToJudge read(const Json& row, const std::string& where,
                       const Problem* problem = nullptr) const;
};

// The steps of a completion as text. A step without text, as the end of the sequence is, belongs to
// the one before it; at the beginning to the first one with text.
struct TextSteps {
    std::vector<Segment> segments;
    std::vector<StepVerdict> rule;
    std::vector<int> token_segment; // (tokens)
};
// token_begin: as Tokenizer::decode gives it of the whole text, of `bytes` bytes.
TextSteps text_steps(const std::vector<StepVerdict>& steps, std::span<const size_t> token_begin,
                     size_t bytes);
