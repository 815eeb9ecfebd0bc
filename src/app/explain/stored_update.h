#pragma once
// What `loss`, `diff`, `report` and `explain` share: stored rollouts through advantage, select and
// loss, with no network.

#include "base/config.h"
#include "rl/loss.h"
#include "rl/stored_rollouts.h"

struct UpdateConfig {
    AlgoConfig algo = preset_algorithm("grpo"); // what `help` shows
    SelectConfig select;
    Json credit;
    std::string rollouts, out = "-";
    void visit(Fields& v) {
        v.object("algo", algo, "the algorithm");
        v.object("select", select, "which completions and tokens train");
        static const std::string help =
            "reward and credit are made anew from the rows' scores, without models. " +
            sources_help();
        v.json("credit", credit, help.c_str());
        v.field("rollouts", rollouts, "stored rollouts, JSON Lines");
        v.field("out", out, "file to write; - is standard output");
    }
};

struct StoredUpdate {
    StoredRollouts stored;
    Selection kept;
    Weights weights; // of one optimiser step on the whole file
    BatchLoss loss;
};

// Fills what the preset says and checks the configuration.
void resolve_update(UpdateConfig& config, const Args& args);
// Stations 4 to 6 on these numbers. step: of the run, for select's mode random. as_stored: a run's
// own advantages and selection where the rows hold them, instead of those made anew.
StoredUpdate loss_of(StoredRollouts stored, const AlgoConfig& algo, const SelectConfig& select,
                     int64_t step = 0, bool as_stored = false);
// One optimiser step over the file. An error names row and token where something is not a number.
StoredUpdate stored_update(const UpdateConfig& config);
// {"loss", "policy", "kl", "entropy", "value", "rows", "tokens", ...}: rows and tokens are the kept
// ones.
Json update_summary(const StoredUpdate& update);
