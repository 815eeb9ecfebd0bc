#pragma once
// explain of a reward model's run: held-out pairs, chosen and rejected side by side, every token coloured by
// its score on one scale for the whole page.

#include "app/explain/stored_run.h"
#include "report/explain.h"

// The first `pairs` of the run's data.eval (of data.train where there is none), scored by its newest checkpoint.
// Errors: a run that was not trained on rows, no checkpoint yet.
ExplainPage explain_pairs(const StoredRun& run, int pairs);
