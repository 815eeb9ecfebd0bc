#pragma once
// The rollout engine: memory for a batch of sequences that are decoded over one paged key/value
// cache, and the three computations of a round.
//
//   compute_prompts  takes new prompts through the trunk and fills their pages
//   decode           takes one token of each sequence through the trunk
//   draw             final norm, LM head, and the next token of each sequence

#include "model/recording.h"
#include "rollout/generate.h"
#include "rollout/pages.h"

#include <map>
#include <optional>
#include <span>

constexpr int most_prefill_tokens = 2048; // of prompts computed together

// A prompt in the cache, as long as samples of it wait to be admitted.
struct CachedPrompt {
    int index = -1, length = 0;
    int turn = -1;      // its place in the order of admission
    int hidden_row = 0; // its last token's hidden row, in Engine::prompt_hidden
    std::vector<int> pages;
};

// A completion in flight. Row b of the engine's arrays is that of active sample b.
struct ActiveSample {
    Completion* out = nullptr;
    int length = 0; // tokens in the cache
    std::vector<int> pages;
    int completion = 0; // its number
    int row = 0;        // of a recording: the one that predicts the next token
};

struct Engine {
    // Counts its memory; allocate() takes it. prompt_tokens: of all prompts together; fewer than
    // most_prefill_tokens need less. recording may be null.
    Engine(const Model& model, int batch, int longest_prompt, int new_tokens,
           int64_t prompt_tokens = most_prefill_tokens, Recording* recording = nullptr);
    Engine(const Engine&) = delete;
    ~Engine();
    void allocate();
    int pages_for(int tokens) const { return (tokens + page_size - 1) / page_size; }

    const Model& model;
    Recording* recording;
    int batch, page_size, max_pages, pages, prefill_tokens;
    bool by_threads; // rows are shared out among threads above the ops (shares.h)
    PagePool pool;
    std::optional<Pass> prefill;
    Arena arena{"generation"};
    std::vector<KvCache> cache;  // (L)
    LayerActs acts;              // (batch, ..): of every layer, one after another
    std::map<int, void*> graphs; // a recorded decode step by its number of rows
    Tensor branch, hidden; // (batch, C): scratch; what predicts the next token of each sequence
    Tensor prompt_hidden;  // (batch + 1, C): the last row of each prompt in the cache
    Tensor row_y, row_s, logits;     // (batch, C), (batch), (batch, V): the LM head
    Tensor uniform, bar;             // (batch): of a draw, as Ops::sample names them
    Tensor barred;                   // (E): the ends of sequence
    Tensor drawn;                    // (3, batch): token (i32), logp, entropy
    Tensor step;                     // a CacheStep's lists, one after another
    Tensor list, copy_to, copy_from; // (batch): rows, pages
    Tensor prompt_slot;              // (prefill_tokens): where each goes in the cache

private:
    void layout();
};

// Bytes of an engine of this size.
size_t engine_bytes(const Engine& engine);
// How many sequences may be in flight, `wanted` at most.
int fitting_batch(const Model& model, int64_t wanted, int longest_prompt, int new_tokens);

// Fills the pages of these prompts, which stand in consecutive rows of prompt_hidden, and keeps the
// hidden row of each one's last token there.
// prefixes: SampleConfig's.
void compute_prompts(Engine& engine, std::span<const CachedPrompt> fresh,
                     const std::vector<std::vector<int32_t>>& texts,
                     const std::vector<int>& prefixes);
// The last token of each of the first B samples through all layers: fills hidden, rows 0 .. B-1; what
// the rows behind them held is lost.
void decode(Engine& engine, std::vector<ActiveSample>& samples, int B);
// Appends a token to every sample's completion, drawn from its row of hidden.
void draw(Engine& engine, std::vector<ActiveSample>& samples, const SampleConfig& config,
          uint32_t step);
