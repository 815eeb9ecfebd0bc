#pragma once
// How the sources' words become the two numbers that the advantage station reads, a reward R_i per completion
// and a credit c_it per token. For each source, in order:
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

#include "credit/sources.h"

struct Credit {
    std::vector<double> reward; // (rows)
    std::vector<double> token;  // (N); empty: no source goes to the tokens
};
// channels: one per source. offset: (rows + 1), row i owns tokens offset[i] .. offset[i + 1] - 1.
Credit combine(const std::vector<Channel>& channels, const std::vector<SourceConfig>& sources,
               std::span<const int64_t> offset);
