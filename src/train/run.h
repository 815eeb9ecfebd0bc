#pragma once
// A run directory: configuration, metrics, checkpoints, and the way back after a crash.
//
//     RUN/config.json          the effective configuration
//     RUN/metrics.jsonl        one line per optimiser step
//     RUN/checkpoints/000100/  a model directory, in trainer/ the trainer's state, and last trainer_state.json:
//                              step, data position, a hash of every input and of every other file
//
// A checkpoint is written under a temporary name and renamed, so a directory of a number's name with a
// trainer_state.json is complete, whenever the process died.

#include "base/log.h"
#include "train/settings.h"
#include "train/shards.h"

#include <map>
#include <nlohmann/json_fwd.hpp>

struct Run {
    // Looks at settings.dir and decides between a new start, a continuation and a finished run; writes
    // nothing yet. config: every key of the command. Errors: a directory with something in it and no
    // run.resume; a configuration that changed, by key; rows or models that changed, by key and file. A
    // checkpoint whose files are damaged is told of, and the one before it is taken; without one, an error.
    // ranks: all make the run together; the first alone begins, logs and prunes.
    Run(const RunSettings& settings, const Fields& config, int64_t steps,
        const Collectives* ranks = nullptr);
    Run(const Run&) = delete;
    ~Run();

    bool finished() const { return step >= steps || ended; }
    // The step that is saved next is the last one, whatever train.steps says: the run has what it was for.
    void end() { ended = true; }
    bool ended_early() const { return ended; }
    // Names a file or a model that the run reads besides those that Fields::input declares. An error if it is
    // not what the run began with (train/inputs.h).
    void reads(const std::string& key, const std::string& path);
    // Makes the directory, writes config.json and opens the metrics after the lines of step 1 .. step.
    // Called again, it does nothing.
    void begin();

    // Appends a line to metrics.jsonl; its first member is "step".
    void log(const nlohmann::ordered_json& metrics);
    // After this step a checkpoint is due: every run.save_every steps and after the last one.
    bool save_due(int64_t done) const;
    // Writes checkpoints/STEP: `write` puts the model and the trainer's state into the directory it is
    // given. `state` is small and comes back as `state` on resume. Then removes all but run.keep. All ranks
    // call together; `write` does without collectives, so that a rank whose disk is full can say so. Of
    // several ranks' saves, one that fails is told of and the run goes on; a second one in a row, or the
    // last, is an error.
    void save(int64_t done, const nlohmann::ordered_json& state,
              const std::function<void(const std::string& directory)>& write);
    // In `write`: the file is a piece that this rank has written, and goes into the manifest with its sum.
    void wrote(const Shard& shard) { shards.push_back(shard); }
    bool first() const { return !ranks || ranks->rank == 0; }
    nlohmann::ordered_json resumed_state() const;    // null when starting
    std::string file(const std::string& name) const; // RUN/name

    const RunSettings settings;
    int64_t step = 0;       // optimiser steps done
    std::string checkpoint; // directory to continue from; empty: start

private:
    void find_checkpoint(const Fields& config);
    std::string damage_in(const std::string& directory) const;
    void write_checkpoint(int64_t done, const nlohmann::ordered_json& state,
                          const std::function<void(const std::string& directory)>& write);
    void remove_old() const;
    int64_t steps;
    const Collectives* ranks;
    std::vector<Shard> shards; // of the save in hand
    int failed_saves = 0;      // in a row
    bool ended = false;
    std::string config_text;
    std::map<std::string, std::string> inputs; // key: hash of what is read
    MetricsLog metrics;
    int lock = -1;
};

// Moments, step count and, where `with_weights`, the weights in full precision (the model directory may
// hold them rounded), as a safetensors file. load_trainer gives back the same bits, whatever the number
// of ranks then and now; a file of another model is an error. All ranks call together; the first writes.
void save_trainer(const Trainer& trainer, bool with_weights, const std::string& path);
void load_trainer(Trainer& trainer, bool with_weights, const std::string& path);

// Whether a model directory of this element type holds the weights rounded, so that the state must have
// them, too.
bool state_has_weights(const Trainer& trainer, const std::string& save_dtype);

// The trainer's state in a checkpoint that is being written, and in run.checkpoint: trainer/NAME, one file
// or a piece per rank.
void write_state(Run& run, const Trainer& trainer, const std::string& directory,
                 const std::string& name);
void read_state(const Run& run, Trainer& trainer, const std::string& name);

// Writes the checkpoint of one model and its trainer after step `done`.
void save_checkpoint(Run& run, Trainer& trainer, int64_t done, const nlohmann::ordered_json& state);
// The trainer's part of run.checkpoint; the model was loaded from there.
void load_checkpoint(const Run& run, Trainer& trainer);
