#pragma once
// The loop over optimiser steps that sft and reward share: continue or start, metrics, held-out figures,
// checkpoints, progress.

#include "base/json.h"
#include "train/run.h"

struct TrainLoop {
    const char* name;      // "sft", for the progress line
    const char* loss_name; // "loss_nats_per_token", in metrics.jsonl
    Run& run;
    Trainer& trainer;
    const TrainSettings& train;
    const OptimSettings& optim;
    std::string data_name;   // what a changed fingerprint is blamed on
    std::string fingerprint; // of the data: a resumed run must see what it saw before
    // Accumulates the gradients of step 1, 2, ..; may add members to the metrics line.
    std::function<StepStats(int64_t step, Json& line)> gradients = {};
    // Held-out figures as members of the metrics line, and in words for who watches; empty: none.
    struct Held {
        Json members;
        std::string words;
        double loss; // what train.goal_loss is a bound of
    };
    std::function<Held(bool before)> evaluate = {};

    // To the end of the run. Afterwards the figures before the first and after the last step are here, null
    // where there is no held-out data.
    void go();
    Json before = {}, after = {};
};

// 64 bits of all sequences, as text.
std::string fingerprint_of(const std::vector<TrainSequence>& sequences);
// A run that has all its steps, or what it was for, says so; the caller then exits with status 0.
bool tell_if_finished(const Run& run, const TrainSettings& train);
// Fails if a run that is at its end was to reach train.goal_loss and did not.
void check_goal(const Run& run, const TrainSettings& train);
