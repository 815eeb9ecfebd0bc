#pragma once
// What a rank did and when, for the picture of a run: RUN/timeline/RANK.jsonl.

#include "base/json.h"

struct Timeline {
    Timeline();
    // Literals: "generate", "judge", "consult", "train", "swap"; "tail", "queue" and "barrier" are waits.
    void note(const char* what, double begin, double end); // by now()
    // {"begin", "end", "what", "step"} of each, seconds since 1970; then they are forgotten.
    std::string rows(int64_t step);

private:
    struct Span {
        const char* what;
        double begin, end;
    };
    std::vector<Span> spans;
    double to_wall_clock;
};
