#pragma once
// A ragged batch on its way through the trunk: what the host says of it, the memory of one pass,
// and the two directions. forward.cpp is the architecture from bottom to top, backward.cpp the same
// list reversed.

#include "model/model.h"

#include <functional>

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
    Tensor x2, y2, s2;   // (N, C), (N, C), (N): residual after attention, norm before feed-forward
    Tensor gate_up, act; // (N, 2F), (N, F)
    LayerActs rows(const ModelConfig& m, int first, int count) const;
};

// The only list of them: f(name, tensor, width, statistic), in the order of their memory. A row has
// `width` values; 0: one, and the tensor is (N). A statistic keeps its precision beside bf16
// activations (ops.h).
template <class F> void each_act(LayerActs& acts, const ModelConfig& m, const F& f) {
    f("residual", acts.x, m.C, false);
    f("norm1", acts.y1, m.C, false);
    f("norm1.s", acts.s1, 0, true);
    if (m.head_norm) {
        f("qkv_raw", acts.raw, m.qkv_width(), false);
        f("qkv_raw.s", acts.raw_s, m.H + m.K, true);
    }
    f("qkv", acts.qkv, m.qkv_width(), false);
    f("attention", acts.att, m.H * m.D, false);
    f("attention.lse", acts.lse, m.H, true);
    f("residual2", acts.x2, m.C, false);
    f("norm2", acts.y2, m.C, false);
    f("norm2.s", acts.s2, 0, true);
    f("gate_up", acts.gate_up, 2 * m.F, false);
    f("swiglu", acts.act, m.F, false);
}

// Where some tokens' way through the trunk is written.
struct TrunkRows {
    std::vector<LayerActs> layer; // (L); they may be the same memory
    Tensor hidden;                // (N, C) after the last layer
};

// What a pass is laid out for where a recorded rollout may still come to more than the batch in
// hand.
struct Room {
    int rows = 0, sequences = 0, listed = 0;
};

// Memory of one pass, made once and used for every micro-batch. It holds a batch of max_tokens (0:
// none yet); a larger one (a bundle that may not be cut) makes it grow.
struct Pass {
    Pass(const Model& model, int max_tokens, int max_sequences, bool with_backward);
    const Model& model;
    bool with_backward;
    int N = 0;     // tokens of the batch in hand
    Ragged ragged; // of the batch in hand
    int64_t layouts =
        0; // times that it was laid out: who kept something here sees whether it is still there
    Arena arena{"activations"};

    Tensor ids;                      // (N) i32
    std::vector<LayerActs> layer;    // without backward one set serves all layers
    Tensor hidden, branch;           // (N, C) after the last layer; output of a branch
    Tensor dx, datt, dqkv;           // (N, ...) gradients in flight
    Tensor dy, draw, dgate_up, dact; // ... of a block of rows
    Tensor rows, target;             // (N) i32, room for R <= N listed rows
    Tensor row_x, row_y, row_s, row_dx, row_dy, row_value; // (N, C), (N): the listed rows
    Tensor logp, entropy, lse, dlogp, dentropy;            // (N), room for R
    Tensor logits;                                         // (chunk, V)
    int chunk = 0;             // rows of logits that are in memory at a time
    int64_t logits_writes = 0; // into logits, lse and entropy, and layouts; read as `layouts` is
};

// Bytes that a Pass of this size takes, without taking them. Of the model only config and compute
// are needed.
size_t pass_bytes(const Model& model, int tokens, int sequences, bool with_backward);

// Lays the tensors out for a batch of this size, or for `room` if that is larger. What they hold
// stays if they were laid out for the same room before.
void lay_out(Pass& pass, int tokens, int sequences, const Room& room = {});
// ... for this batch, and uploads it.
void bind_batch(Pass& pass, const HostBatch& batch, const Room& room = {});

// Runs the trunk over the batch: fills pass.hidden; with `to`, that, and pass holds the batch's
// arrays alone. on_qkv is called with each layer's rotated queries, keys and values: how prompts
// fill a cache.
void forward(Pass& pass, const HostBatch& batch, const TrunkRows* to = nullptr,
             const std::function<void(int layer, Tensor qkv)>& on_qkv = {});
// Zeroes pass.dx; the heads then add dLoss/dhidden to it.
void begin_backward(Pass& pass);
// From pass.dx to the gradients of all parameters (+=); those of the layers are written (=) by a step's
// `first` micro-batch.
void backward(Pass& pass, const Params& grads, bool first = false);

// acts.y1 and its statistic from acts.x: a layer's first norm, where the sum that makes x did not
// make it, too.
void norm1_forward(const Model& model, int l, LayerActs& acts);
// One layer for N rows, from acts.y1 to acts.x2 and branch. Between the projections `attend` turns
// acts.qkv by rope and fills acts.att from it: over the batch in training, over the cache in decoding.
//   branch: (N, C), the feed-forward's output in the end
void layer_forward(const Model& model, int l, LayerActs& acts, Tensor branch,
                   const std::function<void()>& attend);
// ... over the batch in hand.
void attend_in_batch(Pass& pass, LayerActs& acts,
                     const std::function<void(Tensor qkv)>& on_qkv = {});

// One token of each of B sequences whose keys and values are in a cache (ops.h: kv_write and
// decode_attention).
struct CacheStep {
    Tensor ids, position, slot, length; // (B) i32
    Tensor pages;                       // (B, max_pages) i32
};
// All layers for them, to rows.hidden; their keys and values go into the cache.   branch: scratch
void trunk_decode(const Model& model, TrunkRows& rows, Tensor branch, const CacheStep& step,
                  std::vector<KvCache>& cache);
// Whether so many rows go through the ops for few rows; of the layers' activations these fill x, x2,
// att, act and the queries of qkv.
bool in_few_launches(const Model& model, int64_t rows);
