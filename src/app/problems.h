#pragma once
// A task's problems, looked at before the first step: what would be found when its turn comes is
// found here.

#include "app/inputs.h"

// An error if one of the problems 0 .. count - 1 does not fit the model's context: a prompt must
// leave room for a token, a worked answer (RowNeed::completion) must fit as a whole. It names the
// first such row and how many there are. Of a task without end, whose problems are made as they are
// asked, nothing is looked at.
void check_lengths(const Task& task, Split split, int64_t count, const RowOptions& options,
                   RowNeed need);
// The same for a prompt: its ids and where they come from.
void check_room(size_t prompt_tokens, const std::string& where, int context);

// Of `wanted` held-out problems as many as there are. An error if the task holds none out: it names
// what would change that, `none` the key that asks for no evaluation.
int64_t held_out_problems(const Task& task, int64_t wanted, const char* none);
