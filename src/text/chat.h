#pragma once
// Chat templates of two kinds, ChatML (Qwen, SmolLM2) and Llama 3, recognised in tokenizer_config.json or
// chat_template.jinja and rendered by hand. A template of another kind is refused by name.

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
        default_system; // put in front when the first message is not a system message; "" none

    static ChatTemplate load(const std::string& directory);
    Rendered render(const Tokenizer& tokenizer, const std::vector<Message>& messages,
                    bool add_generation_prompt) const;
    std::string end_of_turn() const; // the token that ends a turn, as text
};
