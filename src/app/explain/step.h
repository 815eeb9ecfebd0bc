#pragma once
// What each token of a step's completions was given, from the stored rollouts of a run.

#include "app/explain/stored_run.h"
#include "report/explain.h"

// prompt_id -1: prompts until `tokens` of their completions are on the page. colour: the quantity that is shown
// first; "": the first credit source's score, else the advantage. Errors: no such step, prompt or quantity.
ExplainPage explain_step(const StoredRun& run, int64_t step, int64_t prompt_id,
                         const std::string& colour, int64_t tokens);
