#pragma once
// The only list of parameters in the program, under Hugging Face's names and shapes. Layout,
// initialisation, optimiser, checkpoint, gradient check and `info` are visitors of it.

#include "base/arena.h"
#include "model/config.h"
#include "ops/ops.h"

enum class Init { normal, residual, one, zero }; // residual: normal / sqrt(2 L), as GPT-2

struct Param {
    std::string name; // "model.layers.0.self_attn.q_proj.weight"
    Tensor tensor;
    Init init;
};

struct LayerParams {
    Tensor norm1, norm2;   // (C)
    Tensor qkv_bias;       // ((H+2K) D) or empty
    Tensor q_norm, k_norm; // (D) or empty
    Weight qkv;            // ((H+2K) D, C): q_proj, k_proj, v_proj one below the other
    Weight out;            // (C, H D)
    Weight gate_up;        // (2F, C): gate_proj, up_proj
    Weight down;           // (C, F)
};

struct Params {
    Weight embedding; // (V, C)
    std::vector<LayerParams> layer;
    Tensor norm;             // (C)
    Weight lm_head;          // (V, C); the embedding itself when tied
    Weight score;            // (1, C) or empty
    Tensor score_bias;       // (1) or empty
    Weight row_heads;        // (row_heads, C) or empty
    std::vector<Param> list; // every parameter once, in file order; views of the tensors above
};

// Takes the parameters from the arena (twice, as arena.h says) in one dtype. Every tensor begins at a
// multiple of 64 elements, so that weights, gradients, moments and masters are flat arrays in which a
// parameter has the same place whatever their dtypes; the gaps stay zero. The array's size is a multiple of
// 64 `parts`: as many equal parts, one for each rank.
void layout_params(Params& params, const ModelConfig& config, Arena& arena, DType dtype,
                   int parts = 1);
// The whole of such an arena, as one tensor of rank 1.
Tensor flat_array(const Arena& arena, DType dtype);
// The GEMM forms beside the weights: bf16 copies, and packed ones for decoding.
void layout_weight_forms(Params& params, const ModelConfig& config, Arena& arena, const Ops& ops,
                         DType gemm, bool packed);
void refresh_weights(const Params& params, const Ops& ops);

// Initialisation from a seed: normal with deviation 1/sqrt(inputs), so that a matrix keeps the size of what
// it multiplies at any width (a fixed 0.02 suits widths near 1000 only). A parameter's numbers depend on the
// seed and its place in the list alone. Refreshes the GEMM forms.
void init_params(const Params& params, const ModelConfig& config, const Ops& ops, uint64_t seed);

// Elements first .. first+count-1 of a tensor of any dtype, from and to f32 on the host.
void upload_values(const Ops& ops, Tensor tensor, int64_t first, const float* values,
                   int64_t count);
void download_values(const Ops& ops, float* values, Tensor tensor, int64_t first, int64_t count);

int64_t parameter_count(const ModelConfig& config);
