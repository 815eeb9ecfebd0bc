#pragma once
// Rows of preference data: pairs and labelled answers, to token sequences. In a file either every row is a
// pair or none.
//
//   {"prompt" | "instruction" | "prompt_ids", "chosen" | "chosen_ids", "rejected" | "rejected_ids"}
//       strings are encoded as prompts and completions are (text/rows.h); of a list of strings the first counts;
//       ids, where they stand beside a string, are what counts
//   any row with a completion, and "label": 0 | 1 (or "reward", as rlhf eval writes it)
//   the same with "steps": [{"end": tokens of the completion up to the step's end, "label": -1 | 0 | 1}, ..]
//   {"prompt", "steps": [{"text": "..", "label": ..}, ..]}: the completion is the texts, one after another
//
// Errors name file and row: an empty answer, chosen = rejected, a label out of range, an id outside the
// vocabulary. A row whose prompt fills the window is skipped and an answer that goes beyond it is cut at its
// end; both are counted.

#include "reward/reward_loss.h"
#include "task/task.h"
#include "text/rows.h"

struct StepLabel {
    int end = 0; // tokens of the completion up to and with the step's last
    double label = 0;
};

struct AnswerRow {
    TrainSequence sequence; // targets: the tokens of the completion
    int prompt_length = 0;
    std::vector<StepLabel> steps;
    double label = NAN; // of the answer as a whole; NAN: none
    std::string text;   // as the row writes it; "": in ids, or the window cut it
    std::vector<int32_t> prompt() const;
    std::vector<int32_t> completion() const;
};

struct PreferenceRow {
    std::vector<AnswerRow> answers; // a pair: chosen, rejected; else one
    Json source;                    // the row without the keys that gave the ids
    std::string where;
    bool paired() const { return answers.size() == 2; }
};

struct PreferenceData {
    std::vector<PreferenceRow> rows;
    int64_t skipped = 0, cut = 0;
    std::string file;
    bool paired() const { return rows[0].paired(); }
    // "3 rows whose prompt fills the window of 64 tokens were skipped", or "".
    std::string told() const;
    int window = 0;
};

// window: tokens of prompt and answer together; 0: not bounded. options.max_length does not count.
PreferenceData read_preferences(const std::string& path, RowOptions options, int window);

// What reward training reads of the rows: targets by kind, labels. Labels of steps come from the rows or, where
// they have none, from the task. Errors: a row that lacks what the kind needs.
struct RewardExample {
    std::vector<TrainSequence> sequences; // two of a pair, else one
    std::vector<std::vector<double>> labels;
};
std::vector<RewardExample> reward_examples(const PreferenceData& data, const RewardKind& kind,
                                           const Task* task);

// The examples of a step in one batch: bundles, shared prompts.
RewardBatch reward_batch(const std::vector<RewardExample>& examples,
                         const std::vector<int>& picked);
