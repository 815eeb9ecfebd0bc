#pragma once
// What a model is: the fields of Hugging Face's config.json that its arithmetic depends on.

#include "base/tensor.h"

#include <cmath>
#include <string>
#include <vector>

struct RopeScaling { // Llama 3.1's frequency scaling; factor 1: none
    double factor = 1, low_freq_factor = 1, high_freq_factor = 4;
    int original_max_position = 8192; // 0: linear scaling, every frequency is divided by the factor
};

enum class Head { lm, token_classification, sequence_classification };

struct ModelConfig {
    std::string family = "llama"; // model_type: llama, qwen2, qwen3
    int L = 0, C = 0, H = 0, K = 0, D = 0, F = 0, V = 0;
    double norm_eps = 1e-5;
    double rope_theta = 10000;
    RopeScaling rope_scaling;
    int max_positions = 2048;     // longest sequence, tokens
    bool tied_embeddings = false; // the LM head is the embedding
    bool qkv_bias = false;        // Qwen2
    bool head_norm = false;       // Qwen3: norm of each query and key head
    Head head = Head::lm;
    // A classification head beside the LM head: a policy and its critic on one backbone. Not in config.json; who
    // wants it sets it. Its weights are saved apart from the model's, in trainer/.
    bool value_head = false;
    // Small heads on a language model's trunk, without bias, one row each (WISE's; train/wise.h); 0: none.
    int row_heads = 0;
    bool score_bias = false; // a classification head that was found with a bias
    std::string reward_head; // "logit" | "log_softmax": a reward model with a vocabulary head
    std::string reward_kind; // which loss made the reward model: "qrm", "orm", ..; "": not known
    std::string dtype = "float32"; // of the file's weights: float32, bfloat16, float16
    int bos = -1, pad = -1;        // token ids, -1: none
    std::vector<int> eos;          // generation stops at any of them

    int qkv_width() const { return (H + 2 * K) * D; }
};

// Of a score <q, k> before the softmax [Vaswani et al. 2017, eq. 1].
inline double attention_scale(const ModelConfig& m) { return 1 / std::sqrt((double)m.D); }
