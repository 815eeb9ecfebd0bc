#pragma once
// The rollout engine: many prompts, G samples each, continuous batching over a paged key/value
// cache.

#include "model/recording.h"

#include <functional>

struct SampleConfig {
    double temperature = 1, top_p = 1, min_p = 0;
    int top_k = 0, max_new_tokens = 128, min_new_tokens = 0, n = 1;
    int64_t seed = 0;
    // (prompts) of each one's draws, in the place of `seed` and its number among the prompts; empty:
    // by those.
    std::vector<uint64_t> seeds{};
    // (prompts) so many first tokens of each see each other in both directions; empty: none do.
    std::vector<int> prefixes{};
    int batch = 64;               // sequences in flight at most
    bool entropy = false;         // record it beside logp
    void visit(struct Fields& v); // the keys sample.*
};

struct Completion {
    int prompt = 0, sample = 0;
    std::vector<int32_t> ids;          // EOS included when finished
    std::vector<double> logp, entropy; // when each token was drawn, tempered, nats
    bool finished = false;             // false: the length limit was reached
};

struct GenerateStats {
    int64_t prompt_tokens = 0, new_tokens = 0, rounds = 0; // rounds: decode steps
    double prefill_seconds = 0, decode_seconds = 0;
};

// Bytes that generating takes beside the weights, and those of the keys and values among them,
// without taking any. Of the model only config and compute are needed.
size_t generation_bytes(const Model& model, int batch, int prompt_tokens, int new_tokens);
size_t cache_bytes(const Model& model, int batch, int prompt_tokens, int new_tokens);

// Completions in prompt order, then sample order, whatever order they finish in. The token drawn at
// a position depends on (seed, step, prompt, sample, position) and the model alone, not on the
// batch; with `seeds` not on the prompt's number either. `done` (may be empty) is called as each
// completion ends. `recording` (may be null) keeps the activations. `drawn` (may be empty) is called
// with each new token; false ends that completion.
std::vector<Completion> generate(Model& model, const std::vector<std::vector<int32_t>>& prompts,
                                 const SampleConfig& sample, uint32_t step = 0,
                                 GenerateStats* stats = nullptr,
                                 const std::function<void(const Completion&)>& done = {},
                                 Recording* recording = nullptr,
                                 const std::function<bool(const Completion&)>& drawn = {});

// Those of some of the prompts, by this rank alone, in the order of `which`: what generate() gives of
// these. stats: added to.
std::vector<Completion> generate_some(Model& model,
                                      const std::vector<std::vector<int32_t>>& prompts,
                                      const std::vector<int>& which, const SampleConfig& sample,
                                      uint32_t step, GenerateStats& stats,
                                      const std::function<void(const Completion&)>& done = {},
                                      const std::function<bool(const Completion&)>& drawn = {});

// Every rank's own completions of `prompts` prompts in everybody's hands, in order, n each; each is some
// rank's. stats become those of all: counts are sums, seconds those of the slowest. done: called with
// those of others.
std::vector<Completion> share_completions(const Collectives& ranks,
                                          const std::vector<Completion>& own, int64_t prompts,
                                          int n, GenerateStats& stats,
                                          const std::function<void(const Completion&)>& done = {});
