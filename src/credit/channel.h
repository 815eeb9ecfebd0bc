#pragma once
// What a source says of a batch of completions: a channel of raw numbers, one per completion or one per
// token. A source can fail on a completion, as a judge does whose words cannot be read.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

enum class Level { completion, token };

struct Channel {
    std::string name;
    Level level = Level::completion;
    std::vector<double> values; // (rows) or (N)
    std::vector<uint8_t> valid; // (rows); empty: all are
};

// mean | last | sum | min of a completion's numbers; at least one.
double pooled(std::span<const double> scores, const std::string& pool);

// The same per completion (a channel of completions: as it is). A completion without tokens has 0. offset:
// (rows + 1), row i owns tokens offset[i] .. offset[i + 1] - 1.
std::vector<double> pooled_channel(const Channel& channel, const std::string& pool,
                                   std::span<const int64_t> offset);
