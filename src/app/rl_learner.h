#pragma once
// What a run of rl works with: its networks, its task, and the stations that need one of them. Each
// station takes const values and returns a value; the line of all six is cmd_rl.cpp.

#include "app/credit_sources.h"
#include "app/rl_config.h"
#include "app/rl_roles.h"
#include "rl/update.h"
#include "task/metrics.h"
#include "train/run.h"

#include <optional>

// Stations 1 and 2: prompts and their completions. B prompts, I completions, N tokens.
struct Batch {
    std::vector<Problem> problem; // (B)
    RolloutTexts texts;           // ids: prompt (B), completion (I)
    Rollouts drawn;               // logp_old and entropy as sampled; no reward yet
    std::vector<int> sample;      // (I) number of the completion among its prompt's
    std::vector<double> checker;  // (I) what the task's rule says, whoever gives the credit
    std::vector<double> useful;   // (I) likewise, of what was asked for; NAN: it does not say
    std::vector<std::string> text, reason; // (I)
    GenerateStats sampling;
    double check_seconds = 0;
    int rounds = 0;         // of dynamic sampling
    int dropped_groups = 0; // by it: prompts whose rewards were all equal
    int surplus_groups = 0; // by it: valid ones beyond the quota
    int carried_groups = 0; // of the step before, valid then and beyond its quota
};

// A group that taught something and was not needed: of the version of the weights after so many steps.
struct CarriedGroup {
    int64_t problem = 0, version = 0;
    std::vector<Completion> completions;
};

// Station 3: what each completion and each token earned.
struct StepCredit {
    std::vector<Channel> channels;   // as the sources gave them
    std::vector<JudgedBatch> judges; // what models that judge wrote
    Credit credit;                   // R_i, c_it
    double seconds = 0;
};

// Between 3 and 4: what networks that do not change in this step say of each token. (N); empty: not
// needed
struct Consulted {
    std::vector<double> logp_old, logp_ref, value;
    double gap = 0; // largest |logp_old - logp_sampled|, nats
    double seconds = 0;
};

// What the algorithm sees.
Rollouts numbers_of(const Batch& batch, const StepCredit& credit, const Consulted& consulted);

// Station 6.
struct Updated {
    UpdateStats policy;
    std::optional<UpdateStats> critic; // where there is one of its own
    std::optional<StepStats> replay;   // of worked answers, where they are replayed
    double lr = 0;                     // of the policy's steps
    double seconds = 0;
};

// Whether the policy's start is read all the time: as the reference, or by a source of credit.
bool reads_start(const RlConfig& config);

struct Evaluation {
    Estimate pass, pass_k;           // pass@1, pass@eval_samples
    double length = 0;               // of a completion, tokens
    std::vector<TaskFigure> figures; // the task's own
};

struct Learner {
    // The run's newest checkpoint, or the configured start.
    Learner(const RlConfig& config, const Run& run, const ComputeConfig& compute);

    const RlConfig& config;
    ComputeConfig compute;
    // critic: null without, and where it is shared
    std::unique_ptr<Model> policy, reference, critic;
    Trainer trainer;
    std::unique_ptr<Trainer> critic_trainer;
    std::unique_ptr<Pass> reference_pass;
    Task task, replayed; // replayed: whose worked answers the update repeats; without a name none
    Inputs inputs;
    CreditSources sources;
    bool exact; // sampled log-probabilities are the trainer's
    // The last roll_out's activations, in the trainer's pass; null where the update makes its own.
    std::unique_ptr<Recording> recording;
    int64_t held_out; // problems of an evaluation
    std::unique_ptr<LearnerRoles>
        roles;         // of several ranks whose work is drawn; null: it is dealt out
    Timeline timeline; // of this rank, since it was last written

    // What a checkpoint remembers beside weights and moments.
    int64_t next_problem = 0;          // of the training split
    int64_t next_replayed = 0;         // likewise
    double ema = 0;                    // of the baseline "ema"
    std::vector<CarriedGroup> carried; // by the number of their problem; dist.surplus=keep
    double valid_share = 1;            // of dynamic sampling's prompts, a moving average
    double valid_lately = 1;           // of the last round
    double pass_before = 0;            // pass@1 before the first step

    Batch roll_out(int64_t step);
    // select.before_judging: (I) 1, it is judged and trains. Empty: all are judged, station 5 chooses.
    std::vector<uint8_t> choose(const Batch& batch, const SelectConfig& select, int64_t step) const;
    StepCredit give_credit(const Batch& batch, std::span<const uint8_t> chosen = {});
    Consulted consult(const Batch& batch);
    Updated update(const Batch& batch, const Rollouts& rollouts, const Selection& kept,
                   int64_t step);

    // eval_samples completions of each held-out problem.
    Evaluation evaluate();
    // After a step of so many seconds: who does what in the next one.
    void place(const Batch& batch, const Updated& update, double seconds);
    // Writes the checkpoint of this step.
    void save(Run& run, int64_t step);

private:
    int prompts_of_round(int missing) const;
    void add_round(Batch& batch, int64_t step);
    void add_carried(Batch& batch, int64_t step);
    struct CheckedGroup checked(const Problem& problem, std::vector<int32_t> prompt,
                                std::vector<Completion>::iterator begin,
                                std::vector<Completion>::iterator end) const;
    // n completions of each prompt; where they are drawn, judged ahead. all: groups that teach nothing
    // are wanted, too.
    std::vector<Completion> draw(const std::vector<Problem>& problems,
                                 const std::vector<std::vector<int32_t>>& prompts,
                                 const SampleConfig& sample, int64_t step, bool all,
                                 GenerateStats& stats);
    StepStats replay(double lr);
    bool adopts_logp_old() const;
};

// Appends a completion's numbers and ids; its prompt is group completion.prompt.
void add_completion(Rollouts& drawn, std::vector<std::vector<int32_t>>& ids, Completion completion);
