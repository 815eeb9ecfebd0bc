#pragma once
// The transformer: weights and their GEMM forms, one forward and one backward pass over a ragged batch,
// the heads, and decoding with a cache. Families differ by switches of ModelConfig only.

#include "model/params.h"

#include <memory>

struct ComputeConfig {
    DType dtype = DType::f32; // f32, or f64 for gradient checks
    DType gemm = DType::f32;  // bf16: GEMM inputs rounded to bf16, accumulation in f32
    bool recompute = false;   // keep one input per layer, compute the rest again in backward
};

struct Model {
    ModelConfig config;
    ComputeConfig compute;
    const Ops* ops = nullptr;
    Params params;
    Tensor rope_table; // (max_positions, D)
    std::string
        source; // the directory it was read from; tokenizer and template are copied from there
    Arena weights{"weights"}, forms{"GEMM forms of the weights"};
};

// An empty model of this shape: memory laid out, weights zero. `packed`: also lay out the packed weight
// forms, for decoding. After weights change, call refresh_weights(model.params, *model.ops).
std::unique_ptr<Model> make_model(const ModelConfig& config, const ComputeConfig& compute,
                                  bool packed);

// ---- a batch ------------------------------------------------------------------------------------

// Host side of a ragged batch.
struct HostBatch {
    std::vector<int32_t> ids;      // (N)
    std::vector<int32_t> begin{0}; // (S+1)
    std::vector<int32_t> prefix;   // (S)
    std::vector<int32_t> parent;   // (S), -1: none
    int tokens() const { return (int)ids.size(); }
    int sequences() const { return (int)begin.size() - 1; }
    // Appends a sequence; returns its number.
    int add(const int32_t* first, int count, int prefix_length = 0, int parent_sequence = -1);
};

struct LayerActs {
    Tensor x;            // (N, C) the residual stream on entry
    Tensor y1, s1;       // norm before attention
    Tensor qkv;          // rope applied
    Tensor qkv_raw, sqk; // Qwen3: before the head norm
    Tensor att, lse;     // (N, H D), (N, H)
    Tensor x2, y2, s2;   // residual after attention, norm before the feed-forward
    Tensor gate_up, act; // (N, 2F), (N, F)
};

// Memory of one pass: activations for up to max_tokens, head chunks for up to max_rows listed rows.
// Made once and used for every micro-batch.
struct Pass {
    Pass(const Model& model, int max_tokens, int max_sequences, bool with_backward);
    const Model& model;
    int max_tokens, max_sequences;
    bool with_backward;
    int N = 0;     // tokens of the batch in hand
    Ragged ragged; // of the batch in hand
    Arena arena{"activations"};
    size_t bytes() const { return arena.capacity; }

    Tensor ids, begin, prefix, parent, position; // i32, uploaded
    std::vector<LayerActs> layer; // with recompute: x of every layer, the rest shared
    Tensor hidden;                // (N, C) after the last layer, before the final norm
    Tensor branch;                // (N, C) output of attention or feed-forward
    Tensor dx, dy, dqkv, datt, dgate_up, dact, dqkv_raw;                   // gradients in flight
    Tensor rows, rows_hidden, rows_norm, rows_s, rows_dhidden, rows_dnorm; // (R, ..)
    Tensor target, logp, entropy, lse, dlogp, dentropy;                    // (R)
    Tensor logits;                                                         // (chunk, V)
};

// Runs the trunk over the batch: fills pass.hidden.
void forward(Pass& pass, const HostBatch& batch);
// From pass.dx = dLoss/dhidden (zeroed by begin_backward, filled by the heads) to all gradients (+=).
void begin_backward(Pass& pass);
void backward(Pass& pass, const Params& grads);

// ---- heads: hidden rows at a list of positions --------------------------------------------------

// logp (and entropy, if not null) of token target[r] as predicted at row rows[r], in nats.
void token_logprob(Pass& pass, const std::vector<int32_t>& rows, const std::vector<int32_t>& target,
                   double temperature, std::vector<double>& logp, std::vector<double>* entropy);
// Adds to pass.dx and grads. Recomputes the logits chunk by chunk. dentropy may be null.
void token_logprob_backward(Pass& pass, const std::vector<int32_t>& rows,
                            const std::vector<int32_t>& target, double temperature,
                            const std::vector<double>& dlogp, const std::vector<double>* dentropy,
                            const Params& grads);
// Both in one sweep over the logits, for losses whose dlogp is known beforehand (SFT).
void token_logprob_both(Pass& pass, const std::vector<int32_t>& rows,
                        const std::vector<int32_t>& target, double temperature,
                        const std::vector<double>& dlogp, std::vector<double>& logp,
                        const Params& grads);
// The classification head (score.weight) at the listed rows: value[r].
void row_score(Pass& pass, const std::vector<int32_t>& rows, std::vector<double>& value);
void row_score_backward(Pass& pass, const std::vector<int32_t>& rows,
                        const std::vector<double>& dvalue, const Params& grads);
