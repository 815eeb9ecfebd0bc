#pragma once
// Conversations as a model's chat template writes them, and which of their tokens are trained.
//
// The template is the model's own text: chat_template.jinja with additional_chat_templates/NAME.jinja
// beside it, else "chat_template" of tokenizer_config.json (one, or several by name). With tools the one
// named "tool_use" is taken where there is one, else "default", as transformers does.
//
// Trained are the turns of the assistant. A template with {% generation %} blocks says itself which text
// that is. For any other, turn i adds to the text something behind
//     the rendering of messages[0 .. i-1] with a generation prompt,
// and trained is what it adds up to and including the first end-of-turn token (an id at which
// generation stops), or all of it where there is none.

#include "text/jinja.h"
#include "text/tokenizer.h"

#include <map>

enum class TrainedTurns { all, last }; // chat.train

struct Conversation {
    Json messages = Json::array();   // a template sees every key of a message, but null ones
    Json tools;                      // a list of JSON schemas; null: none
    Json variables = Json::object(); // more of the template's variables, as enable_thinking
    std::vector<bool> trained;       // of each message: it is the assistant's and has no weight 0
};

struct Rendered {
    std::string text;
    std::vector<int32_t> ids;
    // 1: trained. Empty where that is unknown, as earlier turns look different once others follow;
    // then `no_mask` says why, naming the turn.
    std::vector<uint8_t> mask;
    std::string no_mask;
};

struct ChatTemplate {
    struct Source {
        std::string text, where;
    };
    std::map<std::string, Source> sources; // by name
    Json special_tokens = Json::object();  // bos_token, eos_token, ...: the text of each
    std::optional<std::tm> now; // chat.date: what strftime_now reads; else the local clock

    static ChatTemplate load(const std::string& directory);
    static bool is_in(const std::string& directory);
    // The day in one of the forms 2024-07-26, 2024-07-26 13:45:00 and 26 Jul 2024.
    void set_date(const std::string& date);
    // An error of the template names it with its line.
    JinjaOutput text(const Conversation& conversation, bool add_generation_prompt) const;
    // `stops`: the ids that end a turn. A token that begins before the trained text is not trained.
    Rendered render(const Tokenizer& tokenizer, const std::vector<int32_t>& stops,
                    const Conversation& conversation, bool add_generation_prompt,
                    TrainedTurns turns) const;

private:
    mutable std::map<std::string, JinjaTemplate> parsed;
    mutable std::optional<std::tm> first_read; // of the local clock: one time for all rows
    const JinjaTemplate& chosen(const Conversation& conversation) const;
    struct Marker;
};
