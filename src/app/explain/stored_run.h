#pragma once
// What `report` and `explain` share: a run directory read back.

#include "app/explain/stored_update.h"
#include "text/tokenizer.h"

struct StoredRun {
    std::string directory;
    Json config;                          // config.json
    bool rl = false;                      // it has an algorithm
    AlgoConfig algo;                      // in effect
    SelectConfig select;                  // in effect
    std::vector<int64_t> steps;           // whose rollouts are stored, in order
    std::unique_ptr<Tokenizer> tokenizer; // of the newest checkpoint; null: none is there

    std::string file(const std::string& name) const;
    // Ids where there is no tokenizer: "[12][7]".
    std::string text(const std::vector<int32_t>& ids) const;
    // The step's stored numbers with advantages and selection as stored, the weights and
    // derivatives made again from them. A file without them gets those that its configuration
    // makes.
    StoredUpdate update(int64_t step) const;
};

// Errors: the directory is no run.
StoredRun open_run(const std::string& directory);

// The lines of metrics.jsonl; a last one that was cut off is left out.
std::vector<Json> read_metrics(const std::string& path);
