#pragma once
// How a generative judge is asked: the keys of `judge.*` and of an entry of the list `credit` alike.

#include "base/config.h"

#include <functional>

struct JudgeKeys {
    std::string vote = "majority", tie = "right", propagate = "own_error_only";
    std::string segments = "auto", truncated = "skip", template_file;
    int critiques = 4, votes = 1, max_new_tokens = 512;
    double temperature = 0.7, top_p = 0.95;
    bool reference_answer = true, semicolons = false;
    int64_t seed = 0;
    void visit(Fields& v);

    // model=oracle: an exact program that errs as often as it is told (credit/oracle.h)
    double precision = 1, recall = 1;
    std::vector<double> errors; // trm: per case; empty: precision and recall
    void visit_oracle(Fields& v);

    // An error: a key that was set (by that name, as it is) and does nothing. where: "judge." or whose keys
    // they are, before the key's name.
    void check_effects(const std::string& kind, bool oracle, const std::string& where,
                       const std::function<bool(const char* key)>& is_set) const;
};
