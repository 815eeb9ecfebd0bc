#pragma once
// What a run takes of a GPU's memory, by category, before anything is taken: every arena is laid out as
// the run would lay it out, only counting. For `rlhf info`, and for the first line of a run on a GPU.

#include "base/json.h"
#include "model/model.h"

struct PlannedRun {
    int tokens_per_micro_batch = 2048;
    int ranks = 1;         // that share masters and moments
    bool rl = false;       // with generation and a reference model
    bool reference = true; // in RL
    int batch = 64;        // sequences in flight
    int prompt_tokens = 512, new_tokens = 512;
};

struct MemoryPlan {
    std::vector<std::pair<std::string, double>> parts; // bytes
    double total() const;
};

MemoryPlan plan_memory(const ModelConfig& model, const ComputeConfig& compute,
                       const PlannedRun& run);

// Categories and total in GiB, whether they fit into `memory` bytes (0: not asked), what single switches
// would make of the total, and the first that fits.
Json plan_json(const ModelConfig& model, const ComputeConfig& compute, const PlannedRun& run,
               double memory);

// Before the first step on a GPU: the plan on standard error.
void print_plan(const ModelConfig& model, const ComputeConfig& compute, const PlannedRun& run);
