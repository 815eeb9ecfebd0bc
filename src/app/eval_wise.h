#pragma once
// rlhf eval on turns of WISE: the metrics of the six sub-tasks, of a model's turns or of a predictions file.

#include "app/inputs.h"
#include "rollout/generate.h"
#include "task/wise_metrics.h"

struct WiseEvalSettings { // wise.*
    WiseSettings turn;
    bool released = false, copy = false;
    std::vector<std::string> oracle;
    void visit(Fields& v);
};

// The metrics as one object; rows that are no predictions are errors that name file, line and field.
Json eval_predictions(const std::string& path, const WiseEvalSettings& settings);

// The metrics of so many held-out turns, written greedily, as members of a line of metrics.jsonl.
Json wise_progress(Model& model, const Inputs& inputs, const TaskConfig& task, int turns,
                   bool copy);

// Asks the model for the held-out turns (`problems` of them, 0: all, 400 of the endless mini_wise), and writes
// the predictions to `out` ("": nowhere).
Json eval_wise(Model& model, const Inputs& inputs, TaskConfig task,
               const WiseEvalSettings& settings, SampleConfig sample, int problems,
               const std::string& out);
