#pragma once
// What a rank has measured in an iteration, and what all of them have measured lately: the chooser's
// numbers.

#include "dist/chooser.h"
#include "ops/collectives.h"

#include <deque>

struct Experience {
    DecodeSample generate, judge;
    double prompt_seconds = 0, prompt_tokens = 0;             // of the policy's prompts
    double judge_prompt_seconds = 0, judge_prompt_tokens = 0; // of the judge's
    double swap_seconds = 0, swaps = 0;
    double train_seconds = 0, train_tokens = 0;
    double seconds = 0; // of the iteration
    LengthHistogram answer, judge_text;
};

struct Experiences {
    int iterations = 4; // that are remembered
    // All ranks together, in the same order: each adds its own of an iteration.
    void add(const Collectives& ranks, const Experience& own);
    // Decode lines by least squares over ranks and iterations; other costs are seconds over counts,
    // lengths are added up. slots, ticket and valid_share are the caller's.
    Measured measured() const;
    double seconds() const; // of the last iteration: its slowest rank's

private:
    std::deque<std::vector<Experience>> last; // (iterations)(ranks)
};

// All ranks together: an error that shows the two, where a rank has decided otherwise.
void check_same(const Collectives& ranks, const Decision& decision);
