#pragma once
// The sources of station "credit", bound to what they need: rules to the task, models to their
// directories. A model sees prompt and completion as ids and answers with raw numbers; it is
// frozen.

#include "app/judge/in_the_loop.h"
#include "credit/combine.h"
#include "reward/reward_model.h"

#include <map>
#include <optional>

// A batch of completions as the sources see it.
struct Judged {
    const std::vector<Problem>& problem;                 // (groups)
    std::span<const int> group;                          // (rows)
    const std::vector<std::vector<int32_t>>& completion; // (rows)
    const std::vector<TrainSequence>& sequence; // (rows) prompt and completion, every token listed
    std::span<const double> checker; // (rows) what the task's rule says, 1 right, 0 wrong
    std::span<const double> useful;  // (rows) likewise, of what was asked for
    std::span<const double> logp;    // of all completion tokens, of the policy at `temperature`
    double temperature = 1;
    std::span<const uint8_t> finished{}; // (rows) 0: at the length limit
    std::span<const uint8_t> asked{};    // (rows) 0: judges that write pass it over; empty: none
};

// What the sources said of it.
struct Asked {
    std::vector<Channel> channels;   // raw scores
    std::vector<JudgedBatch> judges; // of the sources that ask a model to write
};

struct CreditSources {
    // start: the policy's first weights, what "self" reads and log-ratios are taken to unless told
    // otherwise.
    CreditSources(const Json& credit, const Task& task, const Inputs& inputs,
                  const std::string& policy, const std::string& start, const ComputeConfig& compute,
                  int tokens_per_micro_batch);

    Asked ask(const Judged& batch);
    int texts() const; // that models write of an answer
    bool writes() const { return texts() > 0; }
    LengthHistogram expected_texts() const; // before any was written
    // By this rank alone, of one problem's answers, what ask() will be told; share_ahead() by all ranks,
    // before it.
    void judge_ahead(const std::vector<LoopAnswer>& answers, GenerateStats& stats,
                     LengthHistogram& lengths, const std::function<void()>& drawn);
    void share_ahead();
    bool to_tokens() const; // whether a source goes to the tokens
    bool to_reward() const;

    std::vector<SourceConfig> config;
    const Task& task;
    const Inputs& inputs;
    std::vector<std::shared_ptr<const Scorer>> scorers; // per source; one per directory, null: none
    std::vector<std::unique_ptr<ModelJudge>> critics;   // per source; null: none, or exact

private:
    // drm: the judges of relevance and coherence, by directory.
    std::map<std::string, std::shared_ptr<RewardModel>> judges;
    std::vector<std::optional<DrmParts>> reasoned(const SourceConfig& source,
                                                  const Judged& batch) const;
    std::shared_ptr<const Scorer> preference(const SourceConfig& source, const std::string& policy,
                                             const ComputeConfig& compute, int budget) const;
};
