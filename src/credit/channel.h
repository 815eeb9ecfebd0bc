#pragma once
// Station "credit": what the sources say of a batch of completions, and how their words become the two numbers
// that the advantage station reads, a reward R_i per completion and a credit c_it per token.
//
// A source gives a channel of raw numbers, one per completion or one per token. For each source, in order:
//
//   1. pool        token scores to one score: mean | last | sum (a completion's "score"); none: they stay
//   2. to          reward: the score goes to R_i.   tokens: it goes to c_it; a completion's score is copied
//                  to each of its tokens
//   3. normalise   mean_std  x <- (x - mean) / (std + 1e-8)     over all response tokens of the batch
//                  std       x <- x / (std + 1e-8)              (all completions, where they go to R_i)
//   4. eos         mean: the last token's x becomes the mean over its completion, its own included
//   5. R_i += clip(weight x_i),  c_it += clip(weight x_it)      clip 0: none
//
// A completion that a source failed on (valid = 0) is left out of mean and std and gets nothing from it.

#include "base/config.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

struct Channel {
    std::string name;
    bool per_token = false;
    std::vector<double> values; // (N) or (rows)
    std::vector<uint8_t> valid; // (rows); empty: all are
};

struct SourceConfig { // one entry of the list `credit`
    std::string source = "rule", model, reference;
    std::string pool = "auto", to = "auto", normalise = "auto", eos = "own";
    double weight = 1, clip = 0;
    void visit(Fields& v);
    bool uses_model() const { return source != "rule" && source != "oracle"; }
};

// Reads and checks the list; fills "auto" by what the source gives: completions' scores go to the reward as
// they are, token scores to the tokens, normalised by mean and std.
std::vector<SourceConfig> read_sources(const Json& credit);

// offset: (rows + 1), row i owns tokens offset[i] .. offset[i + 1] - 1.
struct Credit {
    std::vector<double> reward; // (rows)
    std::vector<double> token;  // (N); empty: no source goes to the tokens
};
Credit combine(const std::vector<Channel>& channels, const std::vector<SourceConfig>& sources,
               std::span<const int64_t> offset);

// mean | last | sum of the channel's numbers per completion (a channel of completions: as it is). A
// completion without tokens has 0.
std::vector<double> pooled_channel(const Channel& channel, const std::string& pool,
                                   std::span<const int64_t> offset);
