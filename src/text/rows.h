#pragma once
// Rows of data files (specified in README, "Rows"): text, prompt and completion, ids, messages, or
// GSM8K's question and answer, to token ids with the trained or scored positions.

#include "base/config.h"
#include "text/chat.h"

struct Row {
    std::vector<int32_t> ids;
    int first = 1; // position of the first trained or scored token; len: none is
    std::vector<uint8_t>
        mask;              // (len) 1: trained. From `first` on, or the template's mask for messages
    std::string no_mask;   // why the mask of messages is unknown (it is all 0 then); "" else
    int prompt_length = 0; // tokens before the completion; the whole row where there is none
    bool is_prompt = false; // no completion in the row (prompt only, messages ending with a user)
    std::string answer;     // gold answer of a task row, "" if none
    Json source;            // the row as it was read
    std::string where;      // "file:line"
    std::vector<std::string> used_keys; // of source, that gave the ids
};

struct RowOptions {
    const Tokenizer* tokenizer = nullptr; // null: only rows with ids can be read
    std::string chat_directory;           // where the chat template is read from, at the first need
    std::string template_name = "none";   // data.template: none | chat
    bool add_eos = true;                  // data.add_eos: a completion string gets eos
    int eos = -1;                         // see end_of_sequence
    std::vector<int32_t> stops;           // see stop_ids: what ends a turn of the assistant
    int vocabulary = 0;                   // ids must be below it; 0: not checked
    int max_length = 0;                   // model's context; 0: not checked
    int add_generation_prompt = -1; // chat.add_generation_prompt: -1 when the last is not assistant
    std::string chat_date;          // chat.date; "": the local clock
    Json chat_variables = Json::object(); // chat.variables
    TrainedTurns trained_turns = TrainedTurns::all;
    bool allow_no_mask = false; // messages without a known mask are fine, as nothing is trained
    bool allow_empty = false;   // a row of no tokens is fine
    mutable std::shared_ptr<const ChatTemplate> chat; // of chat_directory, once it was needed
};

// Keys of the commands that read rows.
struct ChatConfig {
    Json add_generation_prompt; // null, true, false
    std::string date, train = "all";
    Json variables = Json::object();
    void visit(Fields& v) {
        v.json("add_generation_prompt", add_generation_prompt,
               "true or false; null: when the last message is not the assistant's");
        v.field("date", date,
                "what the template's clock reads, as 2024-07-26; empty: the local time");
        v.choice("train", train, {"all", "last"},
                 "the assistant's turns that are trained: all, or the last one alone");
        v.json("variables", variables,
               "more variables for the template, as {\"enable_thinking\": false}");
    }
    void apply(RowOptions& options) const;
};

// What the command needs; anything else in a row is an error.
//   completion  trained or scored tokens: a completion, an assistant's message, or a text as a whole
//   prompt      ids are the prompt alone: a completion, or an assistant's message at the end, is left
//               out; the whole of text or ids (up to `first`, where given)
enum class RowNeed { any, completion, prompt };

Row parse_row(const Json& json, const std::string& where, const RowOptions& options, RowNeed need);
std::vector<Row> read_rows(const std::string& path, const RowOptions& options, RowNeed need);

// The source without the keys that gave the ids: what travels to the output row.
Json other_keys(const Row& row);

// The id that ends a text: "eos_token" of tokenizer_config.json, or "eos_token_id" of
// generation_config.json or config.json (the first of a list); -1 if none is named.
int end_of_sequence(const std::string& directory, const Tokenizer& tokenizer);
// The ids at which generation stops, which are those that end a turn: "eos_token_id" of
// generation_config.json, else of config.json, and end_of_sequence.
std::vector<int32_t> stop_ids(const std::string& directory, const Tokenizer& tokenizer);
