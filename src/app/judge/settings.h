#pragma once
// Who judges: keys judge.* of rlhf judge, or those of an entry of the list `credit`.

#include "credit/judge_keys.h"

struct DimensionJudge {
    std::string judge = "oracle"; // the task's exact program; else a directory
    void visit(Fields& v);
};

struct JudgeSettings {
    std::string kind = "capo", lesson_file;
    JudgeKeys keys;
    DimensionJudge relevance{}, coherence{}; // drm
    double anchor = 0;                       // preference
    void visit(Fields& v);

    int texts() const;          // that a judge writes of an answer
    double temperature() const; // of its draws; 0: greedy
    // An error where several texts would all be the same.
    void check() const;
};
