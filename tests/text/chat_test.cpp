// Against transformers' apply_chat_template on each family's template, with masks by the rule of prefixes
// (tests/reference/make_tokenizers.py, chat_masks.py); then the spellings that a look at a template gets
// wrong. tests/reference/check_chat_templates.py does the same with every template of public packages.

#include "base/file.h"
#include "text/chat.h"

#include <cmath>
#include <gtest/gtest.h>

namespace {

const std::string golden = "tests/golden/tokenizers/";

ChatTemplate chat_of(const std::string& text, const std::string& end = "<|im_end|>") {
    ChatTemplate chat;
    chat.sources["default"] = {text, "x.jinja"};
    chat.special_tokens = {{"bos_token", "<|endoftext|>"}, {"eos_token", end}};
    return chat;
}

Conversation conversation(const char* messages) {
    Conversation made;
    made.messages = parse_json(messages, "messages");
    for (const Json& message : made.messages)
        made.trained.push_back(message["role"] == "assistant");
    return made;
}

struct Chat : testing::Test {
    std::unique_ptr<Tokenizer> tokenizer = Tokenizer::load(golden + "smollm2");

    Rendered render(const ChatTemplate& chat, const Conversation& row,
                    TrainedTurns turns = TrainedTurns::all) {
        int end = tokenizer->id_of("<|im_end|>"), other = tokenizer->id_of("<|endoftext|>");
        bool ask = row.messages.back()["role"] != "assistant";
        return chat.render(*tokenizer, {end, other}, row, ask, turns);
    }
    // The text of the masked tokens, with a bar between runs of them.
    std::string trained(const Rendered& rendered) {
        std::string text;
        for (size_t t = 0; t < rendered.mask.size(); ++t) {
            if (!rendered.mask[t]) continue;
            if (!text.empty() && !rendered.mask[t - 1]) text += "|";
            text += tokenizer->decode({rendered.ids[t]}, false);
        }
        return text;
    }
    void expect(const std::string& source, const char* messages, const std::string& text,
                const std::string& trained_text, const std::string& end = "<|im_end|>") {
        Rendered rendered = render(chat_of(source, end), conversation(messages));
        EXPECT_EQ(rendered.text, text) << source;
        EXPECT_EQ(trained(rendered), trained_text) << source << rendered.no_mask;
        EXPECT_EQ(rendered.no_mask, "") << source;
    }
};

const char* const turns =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const char* const hi = R"([{"role": "user", "content": "Hi"}])";
const char* const hi_yo =
    R"([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}])";

} // namespace

TEST_F(Chat, RendersAndMasksAsTheTemplatesOfTheFamiliesDo) {
    std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers;
    for (const char* kind : {"smollm2", "qwen2", "llama3"})
        tokenizers[kind] = Tokenizer::load(golden + kind);
    int ones = 0, unknown = 0;
    for_each_row(golden + "chat.jsonl", [&](const Json& row, const std::string& where) {
        std::string name = row["template"].get<std::string>();
        bool llama = name.rfind("llama", 0) == 0;
        ChatTemplate chat = chat_of(read_file(golden + name + ".jinja"));
        chat.special_tokens["bos_token"] = "<|begin_of_text|>";
        const Tokenizer& own = *tokenizers[row["kind"].get<std::string>()];
        Conversation said = conversation(row["messages"].dump().c_str());
        int end = own.id_of(llama ? "<|eot_id|>" : "<|im_end|>");
        Rendered rendered =
            chat.render(own, {end}, said, row["ask"].get<bool>(), TrainedTurns::all);
        auto ids = row["ids"].get<std::vector<int32_t>>();
        EXPECT_EQ(rendered.ids, ids) << where << "\n"
                                     << own.decode(rendered.ids, false) << "\nwanted\n"
                                     << own.decode(ids, false);
        if (row["mask"].is_null()) {
            ++unknown;
            EXPECT_TRUE(rendered.mask.empty()) << where;
            EXPECT_NE(rendered.no_mask.find("messages["), std::string::npos) << where;
        } else {
            EXPECT_EQ(rendered.mask, row["mask"].get<std::vector<uint8_t>>())
                << where << rendered.no_mask;
        }
        for (uint8_t mark : rendered.mask) ones += mark;
    });
    EXPECT_GT(ones, 1000);
    EXPECT_EQ(unknown, 8); // Qwen3 drops the reasoning of earlier turns
}

TEST_F(Chat, ADefaultSystemTurnMayStandInAVariable) {
    expect(
        "{% set lead = 'Answer briefly.' %}{% if messages[0]['role'] == 'system' %}{% set lead = "
        "messages[0]['content'] %}{% endif %}{{ '<|im_start|>system\\n' + lead + '<|im_end|>\\n' }}"
        "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|im_start|>user\\n' + "
        "message['content'] + '<|im_end|>\\n<|im_start|>assistant\\n' }}{% elif message['role'] == "
        "'assistant' %}{{ message['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}",
        hi_yo,
        "<|im_start|>system\nAnswer briefly.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nYo<|im_end|>\n",
        "Yo<|im_end|>");
}

TEST_F(Chat, ABackslashInAStringIsOne) {
    expect(std::string("{{ '<|im_start|>system\\nIn \\\\boxed{}.<|im_end|>\\n' }}") + turns, hi,
           "<|im_start|>system\nIn \\boxed{}.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
           "<|im_start|>assistant\n",
           "");
}

TEST_F(Chat, TheEosTokenMayEndATurn) {
    expect("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
           "message['content'] + eos_token + '\\n'}}{% endfor %}{% if add_generation_prompt %}"
           "{{ '<|im_start|>assistant\\n' }}{% endif %}",
           hi_yo, "<|im_start|>user\nHi<|endoftext|>\n<|im_start|>assistant\nYo<|endoftext|>\n",
           "Yo<|endoftext|>", "<|endoftext|>");
}

TEST_F(Chat, NothingIsAddedBehindTheEndMark) {
    expect("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
           "message['content'] + '<|im_end|>'}}{% endfor %}{% if add_generation_prompt %}"
           "{{ '<|im_start|>assistant\\n' }}{% endif %}",
           hi_yo, "<|im_start|>user\nHi<|im_end|><|im_start|>assistant\nYo<|im_end|>",
           "Yo<|im_end|>");
}

TEST_F(Chat, OnlyTheRoleThatIsTrimmedLosesItsSpaces) {
    expect(
        "{% for message in messages %}{% if message['role'] == 'assistant' %}"
        "{{'<|im_start|>assistant\\n' + message['content'] | trim + '<|im_end|>\\n'}}{% else %}"
        "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
        "{% endif %}",
        R"([{"role": "user", "content": "  def f():\n    pass\n"},
               {"role": "assistant", "content": " Yo "}])",
        "<|im_start|>user\n  def f():\n    pass\n<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n",
        "Yo<|im_end|>");
}

TEST_F(Chat, AGenerationPromptWithTextIsKept) {
    std::string source(turns);
    source.replace(source.rfind("assistant\\n"), 11, "assistant\\nLet me see.\\n");
    expect(source, hi, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nLet me see.\n", "");
    // An answer that does not begin so: what of it is trained is unknown.
    Rendered rendered = render(chat_of(source), conversation(hi_yo));
    EXPECT_EQ(rendered.text,
              "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n");
    EXPECT_TRUE(rendered.mask.empty());
    EXPECT_EQ(rendered.no_mask.rfind("messages[1]: ", 0), 0u) << rendered.no_mask;
}

TEST_F(Chat, ReasoningStaysWhereTheTemplateKeepsIt) {
    expect(
        "{% for message in messages %}{% if message['role'] != 'assistant' %}{{'<|im_start|>' + "
        "message['role'] + '\\n' + message['content'] + '<|im_end|>\\n'}}{% else %}{% set body = "
        "message['content'] %}{% set why = '' %}{% if '</think>' in body %}{% set why = "
        "body.split('</think>')[0].split('<think>')[-1].strip('\\n') %}{% set body = "
        "body.split('</think>')[-1].lstrip('\\n') %}{% endif %}{{ '<|im_start|>assistant\\n"
        "<think>\\n' + why + '\\n</think>\\n\\n' + body + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        R"([{"role": "user", "content": "1+1"},
               {"role": "assistant", "content": "<think>\nsum\n</think>\n\n2"},
               {"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}])",
        "<|im_start|>user\n1+1<|im_end|>\n<|im_start|>assistant\n<think>\nsum\n</think>\n\n2"
        "<|im_end|>\n<|im_start|>user\n2+2<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>"
        "\n\n4<|im_end|>\n",
        "<think>\nsum\n</think>\n\n2<|im_end|>|<think>\n\n</think>\n\n4<|im_end|>");
}

TEST_F(Chat, ARoleMayBeRenamed) {
    expect("{% for message in messages %}{% set who = 'bot' if message['role'] == 'assistant' else "
           "message['role'] %}{{'<|im_start|>' + who + '\\n' + message['content'] + "
           "'<|im_end|>\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>bot\\n' }}"
           "{% endif %}",
           hi_yo, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>bot\nYo<|im_end|>\n",
           "Yo<|im_end|>");
}

TEST_F(Chat, GenerationBlocksSayWhatIsTrained) {
    const std::string source =
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}<|im_end|>"
        "{% endgeneration %}{% else %}{{ message['content'] }}<|im_end|>{% endif %}\n\n"
        "{% endfor %}";
    const char* said = R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}])";
    expect(source, hi_yo, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n",
           "Yo<|im_end|>");
    Conversation row = conversation(said);
    EXPECT_EQ(trained(render(chat_of(source), row)), "b<|im_end|>|d<|im_end|>");
    EXPECT_EQ(trained(render(chat_of(source), row, TrainedTurns::last)), "d<|im_end|>");
    row.trained[3] = false;
    EXPECT_EQ(trained(render(chat_of(source), row)), "b<|im_end|>");
    // A token over the edge of a block is not the block's: "Hello" is one token, or two.
    Rendered cut = render(chat_of("{% for m in messages %}He{% generation %}llo there{% "
                                  "endgeneration %}{% endfor %}"),
                          conversation(R"([{"role": "assistant", "content": ""}])"));
    std::string text;
    for (size_t t = 0; t < cut.ids.size(); ++t) {
        bool inside = text.size() >= 2;
        EXPECT_EQ(cut.mask[t], inside) << t;
        text += tokenizer->decode({cut.ids[t]}, false);
    }
}

TEST_F(Chat, TrainedTurnsAreFoundByWhatTheyAdd) {
    const char* two = R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "assistant", "content": "c"}, {"role": "user", "content": "d"}])";
    Conversation row = conversation(two);
    EXPECT_EQ(trained(render(chat_of(turns), row)), "b<|im_end|>|c<|im_end|>");
    EXPECT_EQ(trained(render(chat_of(turns), row, TrainedTurns::last)), "c<|im_end|>");
    row.trained[1] = false;
    EXPECT_EQ(trained(render(chat_of(turns), row)), "c<|im_end|>");
    // Before an assistant that speaks first stands the empty text.
    EXPECT_EQ(
        trained(render(chat_of(turns), conversation(R"([{"role": "assistant", "content": "x"}])"))),
        "<|im_start|>assistant\nx<|im_end|>");
    // Without an end-of-turn token all that is added is trained.
    EXPECT_EQ(trained(render(chat_of("{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n"
                                     "{% endfor %}{% if add_generation_prompt %}assistant:"
                                     "{% endif %}"),
                             conversation(hi_yo))),
              " Yo\n\n");
}

TEST_F(Chat, ATemplateThatRewritesEarlierTurnsHasNoMask) {
    const std::string source =
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if loop.last or m.role == 'user' %}{{ m.content }}{% else %}(cut)"
        "{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    const char* said = R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}])";
    Conversation row = conversation(said);
    Rendered rendered = render(chat_of(source), row);
    EXPECT_TRUE(rendered.mask.empty());
    EXPECT_EQ(rendered.no_mask.rfind("messages[1]: ", 0), 0u) << rendered.no_mask;
    EXPECT_GT(rendered.ids.size(), 10u);
    EXPECT_EQ(trained(render(chat_of(source), row, TrainedTurns::last)), "d<|im_end|>");
    row.trained[1] = false; // of a turn that is not trained nothing need be known
    EXPECT_EQ(trained(render(chat_of(source), row)), "d<|im_end|>");
    // Where only what stands behind the trained text differs, the mask is known.
    const std::string tail = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
                             "<|im_end|>{{ ' (last)' if loop.last }}\n{% endfor %}"
                             "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    Conversation ends = conversation(R"([{"role": "assistant", "content": "b"},
                                         {"role": "user", "content": "c"}])");
    EXPECT_EQ(trained(render(chat_of(tail), ends)), "<|im_start|>assistant\nb<|im_end|>");
    // A part of the conversation that the template refuses.
    const std::string strict = "{% if messages|length < 3 %}{{ raise_exception('too short') }}"
                               "{% endif %}" +
                               std::string(turns);
    rendered = render(chat_of(strict), conversation(said));
    EXPECT_NE(rendered.no_mask.find("messages[1]: "), std::string::npos);
    EXPECT_NE(rendered.no_mask.find("too short"), std::string::npos) << rendered.no_mask;
}

TEST_F(Chat, TheTemplateSeesTheWholeRow) {
    Conversation row = conversation(R"([{"zeta": 1, "role": "user", "alpha": null, "content": null},
        {"role": "assistant", "reasoning": "why", "tool_calls": [{"name": "f"}]}])");
    const std::string all = "{{ messages | tojson }} {{ tools is none }} {{ documents is none }}"
                            " {{ enable_thinking }}";
    EXPECT_EQ(
        chat_of(all).text(row, false).text,
        "[{\"zeta\": 1, \"role\": \"user\"}, {\"thinking\": \"why\", \"role\": \"assistant\", "
        "\"reasoning\": \"why\", \"tool_calls\": [{\"name\": \"f\"}], \"reasoning_content\": "
        "\"why\"}] True True ");
    row.tools = parse_json(R"([{"name": "f"}])", "tools");
    row.variables["enable_thinking"] = false;
    EXPECT_EQ(chat_of("{{ tools[0].name }}{{ enable_thinking }}").text(row, false).text, "fFalse");
    ChatTemplate named = chat_of("plain");
    named.sources["tool_use"] = {"with tools", "y.jinja"};
    EXPECT_EQ(named.text(row, false).text, "with tools");
    row.tools = Json();
    EXPECT_EQ(named.text(row, false).text, "plain");
}

TEST_F(Chat, TheDayCanBeSet) {
    Conversation row = conversation(hi);
    ChatTemplate chat = chat_of("{{ strftime_now('%d %b %Y') }} {{ date_string }}");
    for (const char* date : {"2024-07-06", "6 Jul 2024", "2024-07-06 12:30:00"}) {
        chat.set_date(date);
        EXPECT_EQ(chat.text(row, false).text, "06 Jul 2024 06 Jul 2024") << date;
    }
    for (const char* date : {"today", "2024-02-30", "2024-07-06x", "07/06/2024"})
        EXPECT_THROW(chat.set_date(date), Error) << date;
}

TEST(ChatDirectory, TemplatesAreFoundAsTransformersFindsThem) {
    const std::string directory = testing::TempDir() + "chat_templates/";
    make_directories(directory + "additional_chat_templates");
    auto put = [&](const std::string& name, const std::string& text) {
        write_file(directory + name, text);
    };
    auto remove = [&](const std::string& name) { std::remove((directory + name).c_str()); };
    remove("chat_template.jinja");
    remove("additional_chat_templates/tool_use.jinja");
    Conversation row;
    row.messages = parse_json(hi, "messages");
    auto plain = [&] { return ChatTemplate::load(directory).text(row, false).text; };
    put("tokenizer_config.json",
        R"({"chat_template": "{{ bos_token }}{{ image_token }}{{ pad_token }}",
        "bos_token": {"content": "<b>"}, "image_token": "<i>", "pad_token": null,
        "add_bos_token": false})");
    EXPECT_EQ(plain(), "<b><i>");
    put("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "one"},
        {"name": "tool_use", "template": "two"}]})");
    EXPECT_EQ(plain(), "one");
    row.tools = Json::array();
    EXPECT_EQ(plain(), "two");
    put("additional_chat_templates/tool_use.jinja", "four"); // files win over tokenizer_config.json
    put("chat_template.jinja", "three");
    EXPECT_EQ(plain(), "four");
    row.tools = Json();
    EXPECT_EQ(plain(), "three");
    remove("chat_template.jinja");
    EXPECT_THROW(plain(), Error); // none is named "default"
    remove("additional_chat_templates/tool_use.jinja");
    put("tokenizer_config.json", "{}");
    EXPECT_THROW(plain(), Error);
}
