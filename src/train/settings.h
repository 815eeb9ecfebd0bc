#pragma once
// The keys that the training commands share, one struct per group. A command's configuration is made
// of these and of its own; each key is named once, in visit() (settings.cpp).

#include "train/step.h"

struct Fields;

struct ModelSettings { // model.*
    std::string path;
    void visit(Fields& v);
};

struct RunSettings { // run.*
    std::string dir;
    int64_t seed = 0;
    int save_every = 0, keep = 2;
    bool resume = false;
    std::string save_dtype = "f32";
    void visit(Fields& v);
};

struct ComputeSettings { // compute.*
    std::string device = "auto", dtype = "auto", gemm = "f32";
    int threads = 0;
    bool recompute = false;
    void visit(Fields& v);
};

struct DataSettings { // data.*: of the commands that train on rows
    std::string train, eval, template_name = "none";
    int eval_rows = 0;
    bool shuffle = true, add_eos = true;
    void visit(Fields& v);
};

struct TrainSettings { // train.*: of the commands that train on rows
    int64_t steps = 100;
    int rows_per_step = 16, tokens_per_micro_batch = 2048, eval_every = 0;
    double goal_loss = 0;
    void visit(Fields& v);
};

struct OptimSettings { // optim.*
    OptimConfig adamw;
    std::string schedule = "constant";
    int64_t warmup_steps = 0;
    void visit(Fields& v);
    // The learning rate of step 1 .. steps.
    double lr(int64_t step, int64_t steps) const;
};

// What compute.* asks for, whether or not this binary and machine can do it.
ComputeConfig compute_config(const ComputeSettings& settings);
// The same after a check that they can; sets the number of threads.
ComputeConfig apply_compute(const ComputeSettings& settings);
