#pragma once
// The transformer: its weights, and how and where they are computed with. Families differ by
// switches of ModelConfig only.
//
//   params.h     the one list of the weights
//   pass.h       a batch on its way through the trunk, forward and backward
//   heads.h      what is read from the trunk's last rows: log-probabilities, logits, scores
//   recording.h  a rollout's forward pass, kept for the update

#include "model/params.h"
#include "ops/collectives.h"

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
    // The directory it was read from; tokenizer and template are copied from there.
    std::string source;
    Arena weights{"weights"}, forms{"GEMM forms of the weights"};
};

// An empty model of this shape: memory laid out, weights zero. `packed`: also lay out the packed
// weight forms, for decoding. After weights change, call refresh_weights(model.params, *model.ops).
std::unique_ptr<Model> make_model(const ModelConfig& config, const ComputeConfig& compute,
                                  bool packed);
