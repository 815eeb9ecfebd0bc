#pragma once
// The keys wise.* that say what a turn shows.

#include "base/config.h"

struct WiseSettings { // wise.*: what a turn shows
    int context_tokens = 200, query_tokens = 10, passage_tokens = 100, response_tokens = 50;
    int queries = 10, passages = 10;
    std::string order = "newest_first", candidates = "file";
    void visit(Fields& v);
};
