// Against transformers' apply_chat_template on each family's template, with masks from the offsets of
// `tokenizers` (tests/reference/make_tokenizers.py).

#include "base/file.h"
#include "base/json.h"
#include "text/chat.h"

#include <gtest/gtest.h>
#include <map>

static const std::string golden = "tests/golden/tokenizers/";

TEST(Chat, RendersAndMasksAsTheTemplateDoes) {
    std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers;
    for (const char* kind : {"smollm2", "qwen2", "llama3"})
        tokenizers[kind] = Tokenizer::load(golden + kind);
    int trained = 0;
    for_each_row(golden + "chat.jsonl", [&](const Json& row, const std::string& where) {
        std::string path = golden + row["template"].get<std::string>() + ".jinja";
        ChatTemplate chat = ChatTemplate::parse(read_file(path), "<|begin_of_text|>", path);
        std::vector<Message> messages;
        for (const Json& message : row["messages"])
            messages.push_back(
                {message["role"].get<std::string>(), message["content"].get<std::string>()});
        const Tokenizer& tokenizer = *tokenizers[row["kind"].get<std::string>()];
        Rendered rendered = chat.render(tokenizer, messages, row["ask"].get<bool>());
        auto ids = row["ids"].get<std::vector<int32_t>>();
        EXPECT_EQ(rendered.ids, ids) << where << "\n"
                                     << tokenizer.decode(rendered.ids, false) << "\nwanted\n"
                                     << tokenizer.decode(ids, false);
        EXPECT_EQ(rendered.mask, row["mask"].get<std::vector<uint8_t>>()) << where;
        for (uint8_t mark : rendered.mask) trained += mark;
    });
    EXPECT_GT(trained, 1000);
}

TEST(Chat, IsFoundInTheDirectory) {
    EXPECT_EQ(ChatTemplate::load(golden + "smollm2").default_system,
              "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
    EXPECT_EQ(ChatTemplate::load(golden + "qwen2").default_system,
              "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.");
    ChatTemplate llama = ChatTemplate::load(golden + "llama3");
    EXPECT_EQ(llama.bos, "<|begin_of_text|>");
    EXPECT_EQ(llama.end_of_turn(), "<|eot_id|>");
}

TEST(Chat, OtherTemplatesAreRefusedByName) {
    auto refusal = [](const std::string& text) -> std::string {
        try {
            ChatTemplate::parse(text, "<s>", "x.jinja");
        } catch (const Error& error) {
            return error.what();
        }
        return "no error";
    };
    auto names = [&](const std::string& text, const char* name) {
        std::string message = refusal(text);
        EXPECT_NE(message.find(name), std::string::npos) << message;
        EXPECT_NE(message.find("ChatML"), std::string::npos) << message;
        EXPECT_NE(message.find("x.jinja"), std::string::npos) << message;
    };
    names("{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}",
          "Mistral");
    names("{% for m in messages %}<start_of_turn>{{ m.role }}{% endfor %}", "Gemma");
    names("{% for m in messages %}<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>{% "
          "endfor %}",
          "Phi-4");
    names("{% for m in messages %}{{ m.content }}{% endfor %}", "unknown");
    names("{{ '<|im_start|>' + m.role + '</think>' + '<|im_end|>' }}", "reasoning");
}
