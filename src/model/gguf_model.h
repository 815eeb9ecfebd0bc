#pragma once
// A GGUF file of the Llama, Qwen2 or Qwen3 architecture as a Hugging Face model: configuration, weights
// under Hugging Face's names, and the tokenizer's files.

#include "format/gguf.h"
#include "format/safetensors.h"
#include "model/config.h"

ModelConfig gguf_model_config(const GgufContents& gguf, const std::string& where);

// f32, f16 or bf16 if all matrices are kept in it, f32 if any is quantised.
DType gguf_dtype(const GgufContents& gguf);

// Every parameter of the model, to be written in `dtype`. Undoes the order of rows in which llama.cpp
// keeps q and k of Llama models. A missing tensor, one of another shape, and one that is no part of the
// model are errors. The sources refer to `gguf`.
std::vector<TensorSource> gguf_weights(const GgufContents& gguf, const ModelConfig& config,
                                       DType dtype, const std::string& where);

// The tokenizer in the metadata as the text of tokenizer.json and tokenizer_config.json. Byte-level BPE of
// the kinds that the families use (tokenizer.ggml.pre: smollm, gpt-2, qwen2, llama-bpe); others are
// refused by name.
struct TokenizerFiles {
    std::string tokenizer, config;
};
TokenizerFiles gguf_tokenizer(const Json& metadata, const std::string& where);
