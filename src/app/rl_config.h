#pragma once
// The configuration of rlhf rl.

#include "app/inputs.h"
#include "credit/sources.h"
#include "dist/settings.h"
#include "rl/select.h"
#include "rollout/generate.h"

struct RlTrainSettings { // train.*
    int64_t steps = 100;
    int prompts_per_step = 16, epochs = 1, minibatches = 1, tokens_per_micro_batch = 4096;
    int max_rounds = 1, eval_every = 0, eval_problems = 256, eval_samples = 1, store_every = 1;
    // The batch is used for one optimiser step, with the weights that drew it.
    bool one_update() const { return epochs * minibatches == 1; }
    void visit(Fields& v) {
        v.moved("drop_truncated", "select.drop_truncated");
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

// Reinforcement learning forgets what it does not ask for: worked answers beside it, an optimiser
// step of supervised fine-tuning behind each of its own.
struct ReplaySettings { // replay.*
    int rows_per_step = 0;
    TaskConfig task;
    void visit(Fields& v) {
        v.field("rows_per_step", rows_per_step, 0, 1e6,
                "worked answers in the supervised step behind each step; 0: none");
        v.object("task", task, "whose worked answers they are");
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
    WiseSettings wise;
    PromptSettings data;
    ChatConfig chat;
    RlTrainSettings train;
    SampleConfig sample;
    Json credit = Json::array({{{"source", "rule"}}});
    AlgoConfig algo;
    SelectConfig select;
    ReplaySettings replay;
    CriticSettings critic;
    std::string reference;
    OptimSettings optim;
    DistSettings dist;
    RlConfig() { sample.n = 8; }
    void visit(Fields& v) {
        v.object("model", model, "the policy");
        v.object("run", run, "the run directory");
        v.object("compute", compute, "the machine");
        v.object("task", task, "station 1: prompts and the rule that checks answers");
        v.object("wise", wise, "conversational search");
        v.object("data", data, "how a problem becomes a prompt");
        v.object("chat", chat, "conversations");
        v.object("sample", sample, "station 2: rollout");
        v.input("credit", credit, sources_help().c_str());
        v.object("algo", algo, "stations 4 and 6: advantage and loss");
        v.object("select", select, "station 5: what trains");
        v.object("train", train, "steps");
        v.object("replay", replay, "supervised steps between those of the policy");
        v.object("critic", critic, "the value model (algo.preset=ppo)");
        v.input("reference", reference,
                "model that the KL is measured against; empty: the policy's start");
        v.object("optim", optim, "AdamW");
        v.object("dist", dist, "several processes (mpirun)");
    }
};
