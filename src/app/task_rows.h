#pragma once
// A task's problems as rows of ids, where tasks (which know no tokenizer) meet the tokenizer.

#include "task/task.h"
#include "text/rows.h"

// What the model is given to complete.
Row problem_prompt(const Problem& problem, const RowOptions& options);
// Prompt and worked answer, to train on. An error if the problem has no worked answer.
Row problem_demonstration(const Problem& problem, const RowOptions& options);
