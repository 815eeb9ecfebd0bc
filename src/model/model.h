#pragma once
// The transformer: weights and their GEMM forms, one forward and one backward pass over a ragged batch,
// the heads, and decoding with a cache. Families differ by switches of ModelConfig only.

#include "model/params.h"
#include "ops/collectives.h"

#include <functional>
#include <memory>

struct ComputeConfig {
    DType dtype = DType::f32; // f32; f64 for gradient checks on the CPU; bf16 on a GPU
    DType gemm = DType::f32;  // bf16: GEMM inputs rounded to bf16, accumulation in f32 (CPU)
    bool recompute = false;   // keep one input per layer, compute the rest again in backward
    bool gpu = false;         // which table of ops
    const Ops* ops = nullptr; // another table of ops than the device's: to count, not compute
    const Collectives* ranks = nullptr; // the processes that train together; null: this one alone
    int parts() const { return ranks ? ranks->ranks : 1; }
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
    std::vector<int32_t> row;      // (N) as Ragged::row; empty: in order
    int tokens() const { return (int)ids.size(); }
    int sequences() const { return (int)begin.size() - 1; }
    // Appends a sequence; returns its number.
    int add(const int32_t* first, int count, int prefix_length = 0, int parent_sequence = -1);
};

// What one layer keeps for its backward pass.
struct LayerActs {
    Tensor x;            // (N, C) the residual stream on entry
    Tensor y1, s1;       // (N, C), (N): norm before attention
    Tensor raw, raw_s;   // (N, (H+2K) D), (N, H+K): Qwen3's queries and keys before their norm
    Tensor qkv;          // (N, (H+2K) D), rope applied
    Tensor att, lse;     // (N, H D), (N, H)
    Tensor x2, y2, s2;   // residual after attention, norm before the feed-forward
    Tensor gate_up, act; // (N, 2F), (N, F)
    LayerActs rows(int first, int count) const;
};

// Where some tokens' way through the trunk is written.
struct TrunkRows {
    std::vector<LayerActs> layer; // (L); they may be the same memory
    Tensor hidden;                // (N, C) after the last layer
};

// Memory of one pass, made once and used for every micro-batch. It holds a batch of max_tokens (0: none
// yet); a larger one (a bundle that may not be cut) makes it grow.
struct Pass {
    Pass(const Model& model, int max_tokens, int max_sequences, bool with_backward);
    const Model& model;
    bool with_backward;
    int N = 0;     // tokens of the batch in hand
    Ragged ragged; // of the batch in hand
    // What a rollout that is recorded here may come to (recording.h); 0: as large as the batch.
    struct {
        int rows = 0, sequences = 0, listed = 0;
    } room;
    Arena arena{"activations"};
    // Called with each layer's rotated queries, keys and values: how prompts fill a cache.
    std::function<void(int layer, Tensor qkv)> on_qkv;

    Tensor ids;                      // (N) i32
    std::vector<LayerActs> layer;    // without backward one set serves all layers
    Tensor hidden, branch;           // (N, C) after the last layer; output of a branch
    Tensor dx, datt, dqkv;           // (N, ...) gradients in flight
    Tensor dy, draw, dgate_up, dact; // ... of a block of rows
    Tensor rows, target;             // (N) i32, room for R <= N listed rows
    Tensor row_x, row_y, row_s, row_dx, row_dy, row_value; // (N, C), (N): the listed rows
    Tensor logp, entropy, lse, dlogp, dentropy;            // (N), room for R
    Tensor logits;                                         // (chunk, V)
    int chunk = 0; // rows of logits that are in memory at a time
    // What stands in logits, if it is one chunk: those of `rows`; and after token_logprob what it left in lse and
    // entropy for these targets and this temperature. Any other use of the logits, and a new batch, empty it.
    struct {
        std::vector<int32_t> rows, target;
        double temperature = 0;
        bool entropy = false;
    } kept;
};

// Bytes that a Pass of this size takes, without taking them. Of the model only config and compute are
// needed.
size_t pass_bytes(const Model& model, int tokens, int sequences, bool with_backward);

// Runs the trunk over the batch: fills pass.hidden.
void forward(Pass& pass, const HostBatch& batch);
// The same, with the batch's arrays in `pass` and its activations in `to`.
void forward_into(Pass& pass, const HostBatch& batch, TrunkRows& to);
// Lays the tensors out for a batch of this size. What they hold stays only if pass.room does, and holds it.
void lay_out(Pass& pass, int tokens, int sequences);
// ... for this batch, and uploads it.
void bind_batch(Pass& pass, const HostBatch& batch);
// Zeroes pass.dx; the heads then add dLoss/dhidden to it.
void begin_backward(Pass& pass);
// From pass.dx to the gradients of all parameters (+=).
void backward(Pass& pass, const Params& grads);

// One layer for N rows. Between rope and the output projection `attend` fills acts.att from acts.qkv:
// over the batch in training, over the cache in decoding.
void layer_forward(const Model& model, int l, LayerActs& acts, Tensor branch, Tensor position,
                   const std::function<void()>& attend);
// All layers for N rows, from their ids to rows.hidden.   branch: (N, C) scratch
void trunk_forward(const Model& model, TrunkRows& rows, Tensor branch, Tensor ids, Tensor position,
                   const std::function<void(int l, LayerActs& acts)>& attend);

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
// The raw logit z of token target[r] at row rows[r], and its gradient: dz_rv = dlogit_r [v = target_r].
void token_logit(Pass& pass, const std::vector<int32_t>& rows, const std::vector<int32_t>& target,
                 std::vector<double>& logit);
void token_logit_backward(Pass& pass, const std::vector<int32_t>& rows,
                          const std::vector<int32_t>& target, const std::vector<double>& dlogit,
                          const Params& grads);
// The classification head (score.weight) at the listed rows: value[r].
void row_score(Pass& pass, const std::vector<int32_t>& rows, std::vector<double>& value);
void row_score_backward(Pass& pass, const std::vector<int32_t>& rows,
                        const std::vector<double>& dvalue, const Params& grads);
