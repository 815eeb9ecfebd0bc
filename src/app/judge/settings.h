#pragma once
// Keys judge.*, and what a judge is asked: the built-in prompts.

#include "base/config.h"

struct JudgeSettings {
    std::string kind = "capo", vote = "majority", tie = "right", propagate = "own_error_only";
    std::string segments = "auto", template_file;
    int critiques = 4, votes = 1, max_new_tokens = 512;
    double temperature = 0.7, top_p = 0.95;
    bool reference_answer = true, semicolons = false;
    void visit(Fields& v);
};

// The built-in prompts of the kinds, for `help judge`.
std::string judge_notes();
// The prompt of a kind: a Jinja template over question, reference (or none), documents, segments (strings)
// and propagate.
std::string judge_template(const JudgeSettings& settings);
