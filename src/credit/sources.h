#pragma once
// The sources of station "credit": who may say what a completion earned, one row each. A source
// never sees a network: what it needs of one it gets as a Scorer, which the application binds to a
// frozen model or to an exact program, or as Judgements, what a model wrote and the application read.
//
//   ask       raw scores, what a run stores: "scores": {NAME: VALUE} (credit/scores.h)
//   formula   the channel that stored scores make, with the entry's settings
//
// A run asks and then applies the formula; `loss` and `diff` read what was stored and apply the
// same formula. Then the channels are added up (credit/combine.h).

#include "credit/channel.h"
#include "credit/drm.h"
#include "credit/source_config.h"
#include "credit/steps.h"
#include "credit/trm.h"

#include <functional>
#include <memory>
#include <optional>

// A prompt and what follows it, as ids; the tokens ids[first ..] are scored. Texts of one group
// have the same ids before `first`.
struct ScoredText {
    std::vector<int32_t> ids;
    int first = 0, group = 0;
};
using TokenScores = std::vector<std::vector<double>>; // raw, one list per text
using Scorer = std::function<TokenScores(const std::vector<ScoredText>&)>;

// What a judge said of a completion: the segments into which it cut it, and how wrong each one is,
// 0 .. 1.
struct Judgement {
    std::vector<int> end;      // (S) token behind each segment's last, increasing
    std::vector<double> wrong; // (S)
    bool valid = true;         // false: its words cannot be read
    bool asked = true;         // false: the completion was passed over
};

// What a source was told of a batch: by a scorer or by a judge, or nothing.
struct Said {
    TokenScores scores;
    std::vector<Judgement> judged;
};

// The completions of a step, as the sources see them.
struct Completions {
    std::vector<ScoredText> texts; // (I) prompt and completion
    std::vector<double> checked;   // (I) by the task's rule: 1 right, 0 wrong
    std::vector<uint8_t> asked{};  // (I) 0: judges that write pass it over; empty: none
    // They cover the completion without gaps.
    std::function<std::vector<StepSpan>(int i)> steps;
    // trm: the same without the end of the sequence, which is no sentence.
    std::function<std::vector<StepSpan>(int i)> sentences;
    // trm_labels: what the completion says of labelled sentences. None: it cannot be read.
    std::function<std::optional<std::vector<LabelledVerdict>>(int i)> verdicts;
    // drm: (N) log-probabilities of the policy at temperature 1; and by entry (I) the parts, none
    // of a malformed completion.
    std::vector<double> logp;
    std::function<std::vector<std::optional<DrmParts>>(const SourceConfig&)> reasoned;
    // preference, as an exact program: (I) share of what was asked for that is answered.
    std::vector<double> useful;
    size_t length(size_t i) const { return texts[i].ids.size() - (size_t)texts[i].first; }
    // The named fields of an answer, likewise; empty where it cannot be read.
    std::function<std::vector<FieldScore>(int i)> fields;
};

// A raw score that a source reads, by its name in "scores".
struct RawScore {
    std::string name;
    Level level = Level::completion;
    double low = -HUGE_VAL, high = HUGE_VAL; // bounds of its numbers
    bool checker = false;                    // what the task's rule says, whoever reads it
    bool optional = false;                   // rows may lack it
    bool or_number = false; // one number will do, where token scores would be pooled
};

struct Source {
    const char* name;
    Level level = Level::token; // of its channel
    Pool pool = Pool::none;     // how token scores become one, unless told otherwise
    Normalise token_normalise = Normalise::mean_std; // default where it goes to the tokens
    // Whose scores it reads. policy: the policy's first weights. judge: steps that a judge marked.
    enum class Asks { nobody, model, policy, judge } asks = Asks::nobody;
    bool writes = false;    // its judge writes text, or is an exact program
    bool log_ratio = false; // the scores are a log-ratio to a reference
    // Only of tasks that can check steps; "fields": whose answers have fields.
    bool checks_steps = false;
    bool normalises = false; // the key "normalise" is of its formula's parts, group by default
    // Keys of an entry, beside those that all sources have. Null: none.
    void (*keys)(SourceConfig& source, Fields& v) = nullptr;
    // The raw scores. Null: of stored rows only.
    std::vector<Channel> (*ask)(const SourceConfig& source, const Completions& batch,
                                const Said& said) = nullptr;
    // The raw scores that the formula reads. Null: one of the entry's name, which is the channel.
    std::vector<RawScore> (*reads)(const SourceConfig& source) = nullptr;
    Channel (*formula)(const SourceConfig& source, const std::vector<Channel>& raw,
                       const Layout& layout) = nullptr;
};
std::span<const Source> source_table();
const Source& find_source(const std::string& name);
std::vector<std::string> source_names();
// The sources with a property, for a message: "dpo_rm, implicit_prm".
std::string sources_with(bool Source::*property);

std::vector<RawScore> raw_scores_of(const SourceConfig& source);

// The raw scores of all sources, each name once. scorers: one per source, null where it asks
// nobody; sources that share a scorer share its answer. judged: one list per source, what its judge
// said of each completion; empty: nobody, or the exact program (credit/oracle.h).
std::vector<Channel> ask_sources(const std::vector<SourceConfig>& sources,
                                 const std::vector<std::shared_ptr<const Scorer>>& scorers,
                                 const std::vector<std::vector<Judgement>>& judged,
                                 const Completions& batch);

// One channel per source of a weight other than 0, from raw scores by name; those of the others
// stay empty.
std::vector<Channel> channels_of(const std::vector<SourceConfig>& sources,
                                 const std::vector<Channel>& raw, const Layout& layout);
