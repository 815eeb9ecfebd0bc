#pragma once
// What a run of rl works with: its configuration, its networks, and stations 1 to 3 (task, rollout, credit).
// The loop over all six is cmd_rl.cpp.

#include "app/credit_sources.h"
#include "app/inputs.h"
#include "rl/select.h"
#include "rl/update.h"
#include "rollout/generate.h"
#include "task/metrics.h"

struct RlTrainSettings { // train.*
    int64_t steps = 100;
    int prompts_per_step = 16, epochs = 1, minibatches = 1, tokens_per_micro_batch = 4096;
    int max_rounds = 1, eval_every = 0, eval_problems = 256, eval_samples = 1, store_every = 1;
    bool drop_truncated = false;
    void visit(Fields& v) {
        v.field("steps", steps, 1, 9e15, "S: batches of rollouts in the run");
        v.field("prompts_per_step", prompts_per_step, 1, 1e6, "B: prompts of one step");
        v.field("epochs", epochs, 1, 1000, "passes over the rollouts of a step");
        v.field("minibatches", minibatches, 1, 1e6, "optimiser steps per pass, whole prompts each");
        v.field("tokens_per_micro_batch", tokens_per_micro_batch, 1, 1e8,
                "tokens in memory at once; changes speed and memory, not the result");
        v.field(
            "max_rounds", max_rounds, 1, 1000,
            "dynamic sampling [Yu et al. 2025, DAPO, eq. 11]: new prompts take the place of those "
            "whose rewards are all equal, in at most so many rounds; 1: off");
        v.field(
            "drop_truncated", drop_truncated,
            "completions that reached the length limit do not train (DAPO's overlong filtering)");
        v.field("eval_every", eval_every, 0, 1e9,
                "steps between evaluations; 0: before the first and after the last only");
        v.field("eval_problems", eval_problems, 0, 1e9,
                "problems of the held-out split per evaluation; 0: no evaluation");
        v.field("eval_samples", eval_samples, 1, 1e6,
                "k: completions of each; above 1 also pass@k");
        v.field("store_every", store_every, 0, 1e9,
                "steps between stored rollouts (RUN/rollouts/STEP.jsonl); 0: never");
    }
};

struct CriticSettings { // critic.*
    std::string path;
    double lr = 1e-4;
    bool shared = false;
    void visit(Fields& v) {
        v.field(
            "shared", shared,
            "the critic is a head on the policy's own backbone, trained by the policy's steps with "
            "algo.value_coef; else it is a model of its own");
        v.input("path", path,
                "model to start the critic from; empty: the policy's start, with a new head");
        v.field("lr", lr, 0, 10,
                "the critic's peak learning rate; schedule and the rest are optim's");
    }
};

struct RlConfig {
    ModelSettings model;
    RunSettings run;
    ComputeSettings compute;
    TaskConfig task;
    PromptSettings data;
    ChatConfig chat;
    RlTrainSettings train;
    SampleConfig sample;
    Json credit = Json::array({{{"source", "rule"}}});
    AlgoConfig algo;
    SelectConfig select;
    CriticSettings critic;
    std::string reference;
    OptimSettings optim;
    RlConfig() { sample.n = 8; }
    void visit(Fields& v) {
        v.object("model", model, "the policy");
        v.object("run", run, "the run directory");
        v.object("compute", compute, "the machine");
        v.object("task", task, "station 1: prompts and the rule that checks answers");
        v.object("data", data, "how a problem becomes a prompt");
        v.object("chat", chat, "conversations");
        v.object("sample", sample, "station 2: rollout");
        v.input("credit", credit, sources_help().c_str());
        v.object("algo", algo, "stations 4 and 6: advantage and loss");
        v.object("select", select, "station 5: what trains");
        v.object("train", train, "steps");
        v.object("critic", critic, "the value model (algo.preset=ppo)");
        v.input("reference", reference,
                "model that the KL is measured against; empty: the policy's start");
        v.object("optim", optim, "AdamW");
    }
};

// Whether the policy's start is read all the time: as the reference, or by a source of credit.
bool reads_start(const RlConfig& config);

struct Asked { // problems with their prompts
    std::vector<Problem> problem;
    std::vector<std::vector<int32_t>> prompt;
    void add(const Task& task, Split split, int64_t i, const RowOptions& options) {
        problem.push_back(task.problem(split, i));
        prompt.push_back(problem_row(problem.back(), options, RowNeed::prompt).ids);
    }
};

// One batch of rollouts with everything that is known of it.
struct Batch {
    Asked asked; // (groups)
    std::vector<Completion> completion;
    std::vector<std::string> text, reason;
    std::vector<double> checker;   // (rows) what the task's rule says, whoever gives the credit
    std::vector<Channel> channels; // what the sources said
    Rollouts numbers;
    RolloutTexts texts;
    int rounds = 0;
    int dropped_groups = 0; // by dynamic sampling: prompts whose rewards were all equal
};

struct Evaluation {
    Estimate pass, pass_k; // pass@1, pass@eval_samples
    double length = 0;
};

struct Learner {
    // start: where the reference comes from unless the configuration names one; policy and critic are read
    // from their directories, which differ from it in a resumed run.
    Learner(RlConfig& config, const std::string& start, const std::string& policy_directory,
            const std::string& critic_directory);

    const RlConfig& config;
    ComputeConfig compute;
    std::unique_ptr<Model> policy, reference,
        critic; // critic: null without, and where it is shared
    Trainer trainer;
    std::unique_ptr<Trainer> critic_trainer;
    std::unique_ptr<Pass> reference_pass;
    Task task;
    Inputs inputs;
    CreditSources sources;
    bool exact;               // sampled log-probabilities are the trainer's
    int64_t held_out;         // problems of an evaluation
    int64_t next_problem = 0; // of the training split
    double ema = 0;           // of the baseline "ema"

    // Stations 1 and 2 of one round: G completions of each prompt, and whether they are right.
    // recording: may be null.
    void roll_out(Batch& batch, int64_t step, int prompts, GenerateStats& stats,
                  double& credit_seconds, Recording* recording);
    // Station 3: what the sources say of the whole batch.
    void give_credit(Batch& batch, const std::vector<TrainSequence>& sequences);
    // The network that values states: the critic's own, or the policy's. Null: the algorithm needs none.
    Pass* value_pass();
    // logp of every completion token, or the critic's values, one sequence after another.
    std::vector<double> outputs_of(Pass& pass, const std::vector<TrainSequence>& sequences,
                                   bool value);
    // eval_samples completions of each held-out problem.
    Evaluation evaluate();
};
