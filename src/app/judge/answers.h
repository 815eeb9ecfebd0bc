#pragma once
// Answers to be judged, and what a judge's words make of them.

#include "app/judge/settings.h"
#include "text/segments.h"
#include "text/tokenizer.h"

#include <map>

struct AnswerToJudge {
    Json source;       // the row as it was read
    std::string where; // "file:line"
    std::string question, response;
    std::vector<Segment> segments;    // of the response
    bool has_ids = false;             // the row gives the response's tokens, and
    std::vector<int> token_segment{}; // (tokens) their segments
    bool stored = false;              // the row gives what a judge wrote, in
    std::vector<std::string> texts{}; // the judge's words: k critiques, or verdicts
};

// One row {"question"|"prompt", "response"|"answer", ..}. tokenizer: gives completion_ids their bytes; null:
// the ids are passed over.
AnswerToJudge read_answer(const Json& row, const std::string& where, const JudgeSettings& settings,
                          const Tokenizer* tokenizer);

struct JudgeCounts {
    int64_t rows = 0, critiques = 0, invalid_critiques = 0, rows_without_vote = 0, unparsable = 0;
    int64_t judge_tokens = 0, cache_hits = 0;
    std::map<std::string, int64_t> reasons{}; // of invalid critiques and unparsable verdicts
    Json json() const;
};

// The output row of an answer whose `texts` are there.
Json judged_row(const AnswerToJudge& answer, const JudgeSettings& settings, JudgeCounts& counts);
