#pragma once
// What `loss` and `diff` share: stored rollouts through advantage, select and update, with no network.

#include "base/config.h"
#include "rl/loss.h"
#include "rl/rows.h"

struct UpdateConfig {
    AlgoConfig algo = preset_algorithm("grpo"); // what `help` shows
    SelectConfig select;
    std::string rollouts, out = "-";
    void visit(Fields& v) {
        v.object("algo", algo, "the algorithm");
        v.object("select", select, "which completions and tokens train");
        v.field("rollouts", rollouts, "stored rollouts, JSON Lines");
        v.field("out", out, "file to write; - is standard output");
    }
};

struct StoredUpdate {
    StoredRollouts stored;
    Plan plan;
    LossParts parts;
    BatchGrads grads;
};

// Fills what the preset says and checks the configuration.
void resolve_update(UpdateConfig& config, const Args& args);
// One optimiser step over the file. An error names row and token where something is not a number.
StoredUpdate stored_update(const UpdateConfig& config);
// {"loss", "policy", "kl", "entropy", "value", "rows", "tokens", ...}: rows and tokens are the kept ones.
Json update_summary(const StoredUpdate& update);
