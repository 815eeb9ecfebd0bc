#pragma once
// rlhf sft with train.objective=wise: the six losses of WISE on one trunk (train/wise.h).

#include "app/inputs.h"
#include "app/train_loop.h"
#include "task/wise_task.h"
#include "train/wise.h"

struct WiseTrainSettings { // wise.*: of training
    WiseWeights weights;
    int64_t freeze_trunk_steps = 0;
    int eval_turns = 0;
    bool copy = false;
    std::string nothing_selected = "masked";
    std::string denominator = "mask_plus_one";
    void visit(Fields& v);
};

// The heads that a model may lack, from a seed; those of its directory else.
std::unique_ptr<Model> load_model_with_heads(const std::string& directory,
                                             const ComputeConfig& compute, uint64_t seed);

struct WiseTraining {
    const Inputs& inputs;
    const TaskConfig& task;
    const WiseTrainSettings& settings;
    int rows_per_step, eval_rows; // eval_rows 0: 256 at most
};
// Gives the loop the gradients and held-out losses of WISE, and the fingerprint of its data.
void prepare_wise(TrainLoop& loop, const WiseTraining& training);
