#pragma once
// The sources of station "credit": who may say what a completion earned, one row each. A source never sees a
// network: what it needs of one it gets as a Scorer, which the application binds to a frozen model or to an
// exact program.

#include "base/config.h"
#include "credit/channel.h"
#include "credit/steps.h"

#include <functional>
#include <memory>

// A prompt and what follows it, as ids; the tokens ids[first ..] are scored. Texts of one group have the same
// ids before `first`.
struct ScoredText {
    std::vector<int32_t> ids;
    int first = 0, group = 0;
};
using TokenScores = std::vector<std::vector<double>>; // raw, one list per text
using Scorer = std::function<TokenScores(const std::vector<ScoredText>&)>;

// The completions of a step, as the sources see them.
struct Completions {
    std::vector<ScoredText> texts; // (rows) prompt and completion
    std::vector<double> checked;   // (rows) by the task's rule: 1 right, 0 wrong
    std::function<std::vector<StepSpan>(int row)> steps; // they cover the completion without gaps
};

struct Source {
    const char* name;
    Level level;      // of its channel
    const char* pool; // how token scores become one, unless told otherwise; "none": they stay
    enum class Asks {
        nobody,
        model,
        policy
    } asks;            // whose scores it reads; policy: its first weights
    bool log_ratio;    // the scores are a log-ratio to a reference
    bool checks_steps; // only of tasks that can check steps
    // The channel's values from what the source reads; scores: empty where it asks nobody.
    std::vector<double> (*values)(const Completions& batch, const TokenScores& scores);
};
std::span<const Source> source_table();
const Source& find_source(const std::string& name);

struct SourceConfig { // one entry of the list `credit`
    std::string source = "rule", model, reference;
    std::string pool = "auto", to = "auto", normalise = "auto", eos = "own";
    double weight = 1, clip = 0;
    void visit(Fields& v);
    const Source& row() const { return find_source(source); }
};

// Reads and checks the list; fills "auto" by what the source gives: completions' scores go to the reward as
// they are, token scores to the tokens, normalised by mean and std.
std::vector<SourceConfig> read_sources(const Json& credit);

// The keys of an entry, for the help of `credit`.
std::string sources_help();

// What each source says of the batch. scorers: one per source, null where it asks nobody; sources that share
// a scorer share its answer.
std::vector<Channel> ask_sources(const std::vector<SourceConfig>& sources,
                                 const std::vector<std::shared_ptr<const Scorer>>& scorers,
                                 const Completions& batch);
