#pragma once
// Stored rollouts: one JSON object per completion, as a run writes them (rollouts/000010.jsonl) and
// the commands loss, diff and explain read them.

#include "credit/source_config.h"
#include "rl/select.h"

struct StoredRollouts {
    Rollouts batch;                 // groups by (step, prompt_id), in the order of their first row
    std::vector<Json> source;       // (I) as read
    std::vector<std::string> where; // (I) "file:line"
};

// Reads and checks: every array has one entry per completion token, and what the configuration
// needs is there. A missing logp means logp_old, a missing value_old means value. Errors name file,
// line and key.
// sources: reward and credit are made anew from the rows' "scores"; null: they are read.
StoredRollouts read_rollouts(const std::string& path, const AlgoConfig& algo,
                             const SelectConfig& select,
                             const std::vector<SourceConfig>* sources = nullptr);

// The selection that a run stored beside the numbers (advantage, kept, token_kept), on completions
// that have one; on the others it is `made`.
Selection stored_selection(const StoredRollouts& stored, Selection made);

// Writes completion i's numbers into a row: logp_old, reward, ... as far as the batch has them, and
// advantage, kept, token_kept, weight.
void put_rollout(Json& row, const Rollouts& rollouts, int i);
void put_selection(Json& row, const Rollouts& rollouts, const Selection& kept,
                   const Weights& weights, int i);
// The part of a (N) array that belongs to completion i, as a JSON list.
Json json_list(const std::vector<double>& array, const Rollouts& rollouts, int i);
