#pragma once
// A rollout takes every token forward through the network, and the update that follows would take
// the same tokens through the same weights again before it goes backward. A recording leaves the
// rollout's own activations in the trainer's pass: each token goes forward once, and the update
// begins with the backward pass. The log-probabilities that the loss sees are then those that were
// drawn from, and the first ratio is exactly 1.
//
// Rows stand in the order in which they were computed: the prompts' tokens, then round by round one
// token of each sequence in flight. GEMMs and norms do not care about order, and attention is told
// by Ragged::row. A prompt's last token stands once and predicts the first token of all of its
// completions.
//
//     Recording recording(trainer.pass, trainer.tokens_per_micro_batch);
//     generate(..., &recording);                                        // writes
//     accumulate_gradients(trainer, sequences, objective, &recording);  // uses it up
//
// It ends, and the update computes its own forward pass, when the rows do not fit, or the pass is
// used for another batch, or is one that keeps no activations (compute.recompute), or several
// processes train together, or the model is on a GPU, where a decode step is a recorded graph with
// fixed addresses.

#include "model/pass.h"

struct Recording {
    Recording(Pass& pass_, int most_rows_) : pass(&pass_), most_rows(most_rows_) {}
    Pass* pass;
    int most_rows;      // may be recorded
    int rows = 0;       // are recorded
    Room room;          // that the pass is laid out for
    int64_t layout = 0; // Pass::layouts of its own; 0: not started, or ended

    std::vector<int32_t> prompt;             // (prompts) row of the first token
    std::vector<std::vector<int32_t>> input; // (completions) row of each token that was fed
    std::vector<std::vector<int32_t>> draw;  // (completions) place in `list` of each drawn token
    std::vector<int32_t> list;               // (R) the row that predicted a token, as drawn
    bool logits = false;                     // pass.logits holds those of `list`

    bool holds() const { return layout > 0 && layout == pass->layouts; }
    void end() { layout = 0; }
};

// Makes room for a rollout of so many tokens at most.
void start_recording(Recording& recording, int prompts, int64_t prompt_tokens, int64_t completions,
                     int new_tokens);
// The next `count` rows, to be written; without layers if there is no recording (null), or it has
// ended.
TrunkRows next_rows(Recording* recording, int count);
// One token more of each completion: predicted by rows[b] through logits[b].   logits: (B, V)
void record_draws(Recording& recording, const std::vector<int>& completions,
                  const std::vector<int32_t>& rows, Tensor logits);
// Binds the pass to the batch, whose token n stands in row batch.row[n] of the recording, with
// `draws` (increasing) as listed rows: afterwards it is as after forward(pass, batch), with
// recording.list listed. What is in neither is dropped; batch.row, recording.list and its places
// become those of what is left.
void bind_recording(Recording& recording, HostBatch& batch, const std::vector<int32_t>& draws);
