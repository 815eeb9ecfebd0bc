#pragma once
// One entry of the list `credit`. Which keys it may have follows from its source.

#include "base/config.h"
#include "credit/channel.h"
#include "credit/judge_keys.h"
#include "credit/normalise.h"

// The dimensions of DRM (credit/drm.h).
struct ConfidenceKeys {
    double weight = 1;
    std::string reasoning = "mean", answer = "sum";
    void visit(Fields& v);
};
struct RelevanceKeys {
    double weight = 1;
    Json judge;
    std::vector<std::string> terms{"question", "documents", "answer"};
    std::string squash = "sigmoid";
    void visit(Fields& v);
};
struct CoherenceKeys {
    double weight = 1;
    Json judge;
    void visit(Fields& v);
};

// Where a source's numbers go.
enum class To { automatic, reward, tokens, segments };
// What the last token gets: its own score or the mean of its completion.
enum class Eos { own, mean };

struct SourceConfig {
    std::string source = "rule", name; // name: of the channel; the source's unless given
    Pool pool = Pool::automatic;
    To to = To::automatic;
    Normalise normalise = Normalise::automatic;
    Eos eos = Eos::own;
    double weight = 1, clip = 0, std_floor = -1; // std_floor -1: the source's own
    std::string model, reference;
    JudgeKeys judge;
    Json judge_model;                  // preference: another name of model
    double w_whole = 2, w_process = 1; // capo
    std::string without_vote = "outcome";
    ConfidenceKeys confidence; // drm
    RelevanceKeys relevance;
    CoherenceKeys coherence;
    double malformed = -3;
    std::string read_out = "verdict"; // trm
    double alpha = 0.5, bonus = 0.5;  // trm_labels
    Json unparsable;                  // trm, trm_labels
    Json anchor;                      // preference

    const struct Source& row() const;
    Level goes_to() const;                      // of the numbers that it adds
    bool counts() const { return weight != 0; } // else nothing of it is read
    std::string where() const;                  // for messages: credit source "NAME"
};

// Reads and checks the list; fills "auto" by what the source gives: completions' scores go to the
// reward, segments' to the segments, token scores to the tokens. Errors name the entry, the key and
// what to do.
std::vector<SourceConfig> read_sources(const Json& credit);

// The keys of an entry, for the help of `credit`.
std::string sources_help();
