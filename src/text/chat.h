#pragma once
// Chat templates of two kinds, ChatML (Qwen, SmolLM2) and Llama 3, recognised in chat_template.jinja or
// tokenizer_config.json and rendered by hand. A template of another kind is refused by name.
//
//   ChatML    <|im_start|>ROLE\nCONTENT<|im_end|>\n ...
//             in front the template's default system turn, if it has one (Qwen2.5, SmolLM2) and the
//             first message is not a system message. Qwen3: the last answer gets a <think> block, empty
//             if it has none; answers before the last question lose theirs.
//   Llama 3   <|begin_of_text|><|start_header_id|>ROLE<|end_header_id|>\n\nCONTENT<|eot_id|> ...
//             with white space around CONTENT removed. Llama 3.1 and later: always a system turn that
//             begins with two lines of dates. The day is the one written in the template, not today, so
//             that a run gives the same tokens tomorrow; set `date` (chat.date) for another.

#include "text/tokenizer.h"

struct Message {
    std::string role, content;
};

struct Rendered {
    std::vector<int32_t> ids;
    std::vector<uint8_t> mask; // 1: the assistant's content and the token that ends its turn
};

struct ChatTemplate {
    enum class Kind { chatml, llama3 } kind = Kind::chatml;
    std::string
        default_system;       // of the turn put in front where there is no system message; "" none
    std::string bos;          // text at the very front; "" none
    std::string cutoff, date; // of Llama 3.1's preamble; cutoff "": no preamble
    bool thinks = false;      // Qwen3's rules for <think> blocks
    bool trims = false;       // white space around a content is removed
    bool renders_tools = false; // roles besides system, user, assistant have a form of their own

    static ChatTemplate load(const std::string& directory);
    // `text`: the template in Jinja; `bos`: the text that bos_token stands for.
    static ChatTemplate parse(const std::string& text, const std::string& bos,
                              const std::string& where);
    // The template's text, encoded as a whole. Everything behind the generation prompt's text is the
    // assistant's; a token that begins in a header belongs to the header.
    Rendered render(const Tokenizer& tokenizer, const std::vector<Message>& messages,
                    bool add_generation_prompt) const;
    std::string end_of_turn() const; // the token that ends a turn, as text
};
