#pragma once
// The built-in tiny model: what `sft` starts from when task.name=arithmetic and model.path is empty.

#include "base/config.h"
#include "model/config.h"

struct BuiltinSettings { // model.* beside model.path
    int layers = 3, channels = 64, heads = 4, feed_forward = 160, max_positions = 512;
    double rope_theta = 1000;

    void visit(Fields& v) {
        v.field("layers", layers, 1, 1000, "built-in model, used when model.path is empty: L");
        v.field("channels", channels, 2, 1e5, "built-in model: C, width of the residual stream");
        v.field("heads", heads, 1, 1000, "built-in model: H, attention heads of width C / H");
        v.field("feed_forward", feed_forward, 1, 1e6,
                "built-in model: F, width of the feed-forward");
        v.field("max_positions", max_positions, 16, 1e6,
                "built-in model: longest prompt and completion together, tokens");
        v.field("rope_theta", rope_theta, 1, 1e9, "built-in model: base of the rotary frequencies");
    }
};

// A Llama with the vocabulary of the arithmetic task, its head not tied to the embedding.
ModelConfig builtin_config(const BuiltinSettings& settings);

// Writes an ordinary Hugging Face directory: config, weights drawn from the seed, tokenizer. It appears
// whole or not at all.
void write_builtin_model(const std::string& directory, const BuiltinSettings& settings,
                         uint64_t seed);
