#pragma once
// Rows of data files (specified in README, "Rows"): text, prompt and completion, ids, messages, or
// GSM8K's question and answer, to token ids with the trained or scored positions.

#include "base/json.h"
#include "text/chat.h"

struct Row {
    std::vector<int32_t> ids;
    int first = 1; // position of the first trained or scored token
    std::vector<uint8_t>
        mask;              // (len) 1: trained. From `first` on, or the template's mask for messages
    int prompt_length = 0; // tokens before the completion; the whole row where there is none
    bool is_prompt = false; // no completion in the row (prompt only, messages ending with a user)
    std::string answer;     // gold answer of a task row, "" if none
    Json source;            // the row as it was read; unknown keys travel to the output
    std::string where;      // "file:line"
};

struct RowOptions {
    const Tokenizer* tokenizer = nullptr; // null: only rows with ids can be read
    std::string chat_directory;           // where the chat template is read from, at the first need
    std::string template_name = "none";   // data.template: none | chat
    bool add_eos = true;                  // data.add_eos: a completion string gets eos
    int eos = -1;
    int vocabulary = 0;             // ids must be below it; 0: not checked
    int max_length = 0;             // model's context; 0: not checked
    int add_generation_prompt = -1; // chat.add_generation_prompt: -1 when the last is not assistant
};

enum class RowNeed { any, completion, prompt }; // what the command needs; anything else is an error

Row parse_row(const Json& json, const std::string& where, const RowOptions& options, RowNeed need);
std::vector<Row> read_rows(const std::string& path, const RowOptions& options, RowNeed need);
