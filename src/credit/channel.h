#pragma once
// What a source says of a batch of completions: a channel of raw numbers, one per completion, per
// segment (a step, a sentence, a field) or per token. A source can fail on a completion, as a judge
// does whose words cannot be read: that is not the same as a low score.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

enum class Level { completion, segment, token };
const char* level_name(Level level); // "completion", "segment", "token"

// The completions of a batch, without their texts: I completions i of some prompts, N tokens in
// all.
struct Layout {
    std::span<const int64_t> offset;      // (I + 1): i owns tokens offset[i] .. offset[i + 1] - 1
    std::span<const int> group;           // (I) its prompt
    std::span<const std::string> where{}; // (I) "file:line", for messages; may be empty
    int completions() const { return (int)offset.size() - 1; }
    int64_t tokens() const { return offset.back(); }
    int64_t length(int i) const { return offset[i + 1] - offset[i]; }
    std::string name(int i) const {
        return where.empty() ? "completion " + std::to_string(i) : where[i];
    }
};

// Where the segments of a batch end; S segments in all.
struct Segments {
    // (I + 1): completion i owns segments first[i] .. first[i + 1] - 1.
    std::vector<int64_t> first{0};
    std::vector<int> end; // (S) token behind a segment's last, counted from the completion's first
    std::span<const int> of(int i) const { // ends of completion i's
        return {end.data() + first[i], (size_t)(first[i + 1] - first[i])};
    }
};

struct Channel {
    std::string name;
    Level level = Level::completion;
    std::vector<double> values; // (I), (S) or (N); 0 where the source failed
    std::vector<uint8_t> valid; // (I) 0: the source failed; empty: it never did
    Segments segments;          // of a channel of segments
    bool failed(int i) const { return !valid.empty() && !valid[i]; }
};

// How a completion's numbers become one; none: they stay.
enum class Pool { automatic, mean, last, sum, min, none };
extern const char* const pool_names[6];
const char* name_of(Pool pool);

// Of at least one number, and neither automatic nor none.
double pooled(std::span<const double> scores, Pool pool);

// The same per completion (a channel of completions: as it is). A completion without a number has
// 0.
std::vector<double> pooled_channel(const Channel& channel, Pool pool,
                                   std::span<const int64_t> offset);
