#pragma once
// Rows from which a judge learns: its prompt, and what the task's rule would write in its place.

#include "app/judge/answers.h"

struct JudgeLesson {
    JudgePrompt prompt;
    // Over what a prompt shows, and steps: a list of {"text", "right", "faithful", "reason", "should"},
    // with wrong, the numbers of the wrong ones.
    JinjaTemplate form;
    explicit JudgeLesson(const JudgeSettings& settings);
    // {"prompt", "completion"}. The task must have checked the answer's steps, or the row must have labels.
    Json row(const AnswerToJudge& answer) const;
};

// The built-in ones.
extern const char capo_lesson[];
extern const char trm_lesson[];
