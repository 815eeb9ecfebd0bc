#pragma once
// The keys sample.* of the commands that generate.

#include "base/config.h"
#include "rollout/generate.h"

struct SampleSettings {
    SampleConfig sample;
    void visit(Fields& v) {
        v.field("temperature", sample.temperature, 0, 100,
                "tau: logits are divided by it before sampling; 0: always the likeliest token");
        v.field("top_k", sample.top_k, 0, 1e9, "sample among the k likeliest tokens; 0: all");
        v.field("top_p", sample.top_p, 1e-9, 1,
                "sample among the fewest likeliest tokens that together have this probability");
        v.field("min_p", sample.min_p, 0, 1,
                "bar tokens less likely than this share of the likeliest one's probability");
        v.field("max_new_tokens", sample.max_new_tokens, 1, 1e9, "longest completion, tokens");
        v.field("min_new_tokens", sample.min_new_tokens, 0, 1e9,
                "end-of-sequence tokens are barred before, tokens");
        v.field("n", sample.n, 1, 1e6, "G: completions per prompt");
        v.field("seed", sample.seed, 0, 9e15, "of the sampling");
        v.field("batch", sample.batch, 1, 1e6,
                "sequences in flight at most; changes speed and memory, not the result");
    }
};
