#pragma once
// What the commands share at their beginning: a model with its tokenizer, and rows as token
// sequences.

#include "model/model.h"
#include "task/task.h"
#include "text/rows.h"
#include "train/settings.h"

constexpr int forward_tokens = 2048; // of one forward pass, where nothing is trained

// Keys data.* of the commands that read one file of rows.
struct RowsSettings {
    std::string path, template_name = "none";
    bool add_eos = true;
    void visit(Fields& v);
};

struct PromptSettings { // data.*: how a problem becomes a prompt
    std::string template_name = "none";
    void visit(Fields& v);
};

// How rows become ids for this model. Without tokenizer.json only rows of ids can be read.
struct Inputs {
    std::unique_ptr<Tokenizer> tokenizer;
    RowOptions options;
    // Without special tokens; "" without a tokenizer.
    std::string text(const std::vector<int32_t>& ids) const {
        return tokenizer ? tokenizer->decode(ids, true) : "";
    }
};
Inputs open_inputs(const std::string& directory, const ModelConfig& model,
                   const std::string& template_name, bool add_eos, const ChatConfig& chat);

// A problem's prompt (RowNeed::prompt), or prompt and worked answer (RowNeed::completion).
Row problem_row(const Problem& problem, const RowOptions& options, RowNeed need);

// The trained or scored positions of a row: those that its mask names.
TrainSequence train_sequence(const Row& row);

// The built-in model, of a built-in task's vocabulary: what a run starts from without model.path.
struct TinySettings {
    int layers = 3, width = 64, heads = 4, feed_forward = 160, context = 512;
    double rope_theta = 1000, look_back = 0;
    std::string family = "llama", writes_about, from;
    void visit(Fields& v);
};
// Writes it, freshly initialised from the seed, as a Hugging Face directory with its tokenizer.
void write_tiny_model(const TinySettings& settings, const Vocabulary& vocabulary, uint64_t seed,
                      const std::string& directory);
void write_tiny_model(const TinySettings& settings, const WordVocabulary& words, uint64_t seed,
                      const std::string& directory);
