#pragma once
// What a judge is asked: an answer in the words of a template.

#include "app/judge/settings.h"
#include "text/jinja.h"

// One answer, as a prompt shows it.
struct JudgeQuestion {
    std::string question;
    Json reference, documents; // null: none
    std::vector<std::string> segments;
};

struct JudgePrompt {
    JudgeSettings settings;
    JinjaTemplate form; // over question, reference (or none), documents, segments and propagate
    explicit JudgePrompt(const JudgeSettings& settings);
    std::string text(const JudgeQuestion& question) const;
};

// The built-in ones.
extern const char capo_prompt[];
extern const char trm_prompt[];
