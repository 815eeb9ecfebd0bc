#include "base/file.h"
#include "text/rows.h"

#include <gtest/gtest.h>

namespace {

const std::string golden = "tests/golden/tokenizers/";

struct Rows : testing::Test {
    std::unique_ptr<Tokenizer> tokenizer;
    RowOptions options;
    void use(const std::string& kind) {
        tokenizer = Tokenizer::load(golden + kind);
        options = RowOptions();
        options.tokenizer = tokenizer.get();
        options.chat_directory = golden + kind;
        options.eos = end_of_sequence(golden + kind, *tokenizer);
        options.stops = stop_ids(golden + kind, *tokenizer);
        options.vocabulary = tokenizer->vocabulary();
        options.max_length = 200;
    }
    void SetUp() override { use("llama3"); }
    Row read(const std::string& json, RowNeed need = RowNeed::any) {
        return parse_row(parse_json(json, "f:1"), "f:1", options, need);
    }
    std::string error(const std::string& json, RowNeed need = RowNeed::any) {
        try {
            read(json, need);
        } catch (const Error& problem) {
            return problem.what();
        }
        return "no error";
    }
    void expect_error(const std::string& json, const char* part, RowNeed need = RowNeed::any) {
        std::string message = error(json, need);
        EXPECT_NE(message.find(part), std::string::npos) << json << "\n" << message;
        EXPECT_NE(message.find("f:1"), std::string::npos) << message;
    }
    std::vector<int32_t> encode(const std::string& text, bool special = false) {
        return tokenizer->encode(text, special);
    }
};

std::vector<int32_t> join(std::vector<int32_t> a, const std::vector<int32_t>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

} // namespace

TEST_F(Rows, TextGetsThePostProcessorAndIsTrainedFromItsSecondToken) {
    Row row = read("{\"text\": \"hello\"}");
    EXPECT_EQ(row.ids, encode("hello", true));
    EXPECT_EQ(row.ids[0], tokenizer->id_of("<|begin_of_text|>"));
    EXPECT_EQ(row.first, 1);
    EXPECT_EQ(row.prompt_length, 0);
    EXPECT_EQ(row.mask[0], 0);
    EXPECT_EQ(row.mask[1], 1);
    EXPECT_FALSE(row.is_prompt);
}

TEST_F(Rows, PromptAndCompletionAreEncodedEachOnItsOwn) {
    for (const char* key : {"completion", "response"}) {
        Row row =
            read(std::string("{\"prompt\": \"What is\", \"") + key + "\": \" it\", \"id\": 7}");
        auto prompt = encode("What is", true), completion = encode(" it");
        EXPECT_EQ(row.ids, join(join(prompt, completion), {options.eos}));
        EXPECT_EQ(row.first, (int)prompt.size());
        EXPECT_EQ(row.prompt_length, (int)prompt.size());
        for (size_t t = 0; t < row.ids.size(); ++t) EXPECT_EQ(row.mask[t], t >= prompt.size());
        EXPECT_EQ(dump_row(other_keys(row)), "{\"id\":7}");
    }
    options.add_eos = false;
    Row row = read("{\"question\": \"What is\", \"answer\": \" it\"}");
    EXPECT_EQ(row.ids, join(encode("What is", true), encode(" it")));
    EXPECT_EQ(row.answer, " it");
    options.add_eos = true;
    row = read("{\"prompt_ids\": [3, 4], \"completion_ids\": [5], \"text\": \"kept\"}");
    EXPECT_EQ(row.ids, (std::vector<int32_t>{3, 4, 5})); // ids are never touched
    EXPECT_EQ(dump_row(other_keys(row)), "{\"text\":\"kept\"}");
}

TEST_F(Rows, AnEmptyPromptLeavesTheFirstTokenUntrained) {
    use("smollm2");
    Row row = read("{\"prompt\": \"\", \"completion\": \"abc def\"}");
    EXPECT_EQ(row.first, 1);
    EXPECT_EQ(row.prompt_length, 0);
    EXPECT_EQ(row.mask[0], 0);
    EXPECT_EQ(row.mask[1], 1);
}

TEST_F(Rows, FirstCanBeGiven) {
    Row row = read("{\"ids\": [1, 2, 3, 4], \"first\": 3}");
    EXPECT_EQ(row.first, 3);
    EXPECT_EQ(row.mask, (std::vector<uint8_t>{0, 0, 0, 1}));
    row = read("{\"ids\": [1, 2, 3, 4], \"first\": 4}");
    EXPECT_EQ(row.mask, (std::vector<uint8_t>{0, 0, 0, 0}));
    row = read("{\"ids\": [1, 2, 3, 4], \"first\": 3}", RowNeed::prompt);
    EXPECT_EQ(row.ids, (std::vector<int32_t>{1, 2, 3}));
    expect_error("{\"ids\": [1, 2], \"first\": 0}", "1 .. 2");
    expect_error("{\"ids\": [1, 2], \"first\": 3}", "1 .. 2");
    expect_error("{\"ids\": [1, 2], \"first\": \"x\"}", "first");
    row = read("{\"ids\": [5]}"); // a row of one token: nothing to score, and no error
    EXPECT_EQ(row.first, 1);
    EXPECT_EQ(row.mask, (std::vector<uint8_t>{0}));
}

TEST_F(Rows, MessagesUseTheTemplateAndNoPostProcessor) {
    std::string turns = "{\"role\": \"user\", \"content\": \"2+2?\"}";
    Row row = read("{\"messages\": [" + turns + "]}", RowNeed::prompt);
    std::string text = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n2+2?<|eot_id|>"
                       "<|start_header_id|>assistant<|end_header_id|>\n\n";
    EXPECT_EQ(row.ids, encode(text));
    EXPECT_TRUE(row.is_prompt);
    EXPECT_EQ(row.prompt_length, (int)row.ids.size());
    EXPECT_EQ(row.first, (int)row.ids.size());
    std::string answered =
        "{\"messages\": [" + turns + ", {\"role\": \"assistant\", \"content\": \"4\"}]}";
    Row full = read(answered, RowNeed::completion);
    EXPECT_EQ(full.ids, encode(text + "4<|eot_id|>"));
    EXPECT_FALSE(full.is_prompt);
    EXPECT_EQ(full.first, (int)row.ids.size());
    EXPECT_EQ(full.mask[full.first - 1], 0);
    EXPECT_EQ(full.mask.back(), 1);
    EXPECT_EQ(read(answered, RowNeed::prompt).ids, row.ids); // the answer is left out
    options.add_generation_prompt = 0;
    EXPECT_EQ(tokenizer->decode(read("{\"messages\": [" + turns + "]}").ids, false),
              text.substr(0, text.find("<|start_header_id|>assistant")));
    options.add_generation_prompt = 1;
    EXPECT_EQ(read(answered).ids,
              encode(text + "4<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"));
}

TEST_F(Rows, AMessageMayBeLeftUntrained) {
    auto row_of = [](const std::string& first, const std::string& second = "") {
        return "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": "
               "\"assistant\", "
               "\"content\": \"Bad\"" +
               first +
               "}, {\"role\": \"user\", \"content\": \"Go\"}, {\"role\": "
               "\"assistant\", \"content\": \"Good\"" +
               second + "}]}";
    };
    auto trained = [&](const std::string& json) {
        Row row = read(json, RowNeed::completion);
        std::vector<int32_t> ids;
        for (size_t t = 0; t < row.ids.size(); ++t)
            if (row.mask[t]) ids.push_back(row.ids[t]);
        return tokenizer->decode(ids, false);
    };
    EXPECT_EQ(trained(row_of("")), "Bad<|eot_id|>Good<|eot_id|>");
    for (const char* key : {", \"weight\": 0", ", \"weight\": 0.0", ", \"train\": false"})
        EXPECT_EQ(trained(row_of(key)), "Good<|eot_id|>") << key;
    EXPECT_EQ(trained(row_of(", \"weight\": 1", ", \"train\": false")), "Bad<|eot_id|>");
    EXPECT_EQ(trained(row_of(", \"weight\": null, \"train\": true")),
              "Bad<|eot_id|>Good<|eot_id|>");
    options.trained_turns = TrainedTurns::last;
    EXPECT_EQ(trained(row_of("")), "Good<|eot_id|>");
    EXPECT_EQ(trained(row_of("", ", \"weight\": 0")), "");
    options.trained_turns = TrainedTurns::all;
    expect_error(row_of(", \"weight\": 0.5"), "messages[1]: \"weight\" is 0.5");
    expect_error(row_of(", \"weight\": true"), "\"weight\" is true");
    expect_error(row_of(", \"train\": 0"), "messages[1]: \"train\" must be true or false");
    expect_error(row_of(", \"weight\": 1, \"train\": false"), "contradict");
    expect_error("{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\", \"weight\": 1}]}",
                 "only the assistant's");
    EXPECT_EQ(read("{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\", \"train\": false}]}")
                  .is_prompt,
              true);
}

TEST_F(Rows, ToolsAndVariablesReachTheTemplate) {
    auto chat = std::make_shared<ChatTemplate>();
    chat->sources["default"] = {"{{ tools | tojson }}{{ mode }}{{ messages[0].tool_calls[0].id }}",
                                "x"};
    options.chat = chat;
    options.chat_variables["mode"] = "config";
    std::string messages = "\"messages\": [{\"role\": \"user\", \"tool_calls\": [{\"id\": 7}]}]";
    auto text = [&](const std::string& extra) {
        Row row = read("{\"id\": 1, " + messages + extra + "}", RowNeed::prompt);
        EXPECT_EQ(dump_row(other_keys(row)), "{\"id\":1}");
        return tokenizer->decode(row.ids, false);
    };
    EXPECT_EQ(text(""), "nullconfig7");
    EXPECT_EQ(text(", \"tools\": [{\"b\": 1, \"a\": 2}]"), "[{\"b\": 1, \"a\": 2}]config7");
    EXPECT_EQ(text(", \"chat_template_kwargs\": {\"mode\": \"row\"}"), "nullrow7");
    expect_error("{" + messages + ", \"tools\": \"[]\"}", "\"tools\" must be a list");
    expect_error("{" + messages + ", \"tools\": [\"f\"]}", "\"tools\" must be a list");
    expect_error("{" + messages + ", \"chat_template_kwargs\": {\"tools\": []}}",
                 "cannot be a variable");
}

TEST_F(Rows, AnUnknownMaskIsAnErrorThatNamesTheTurn) {
    auto chat = std::make_shared<ChatTemplate>();
    chat->sources["default"] = {
        "{% for m in messages %}{{ m.content if loop.last else '-' }}<|eot_id|>"
        "{% endfor %}",
        "x"};
    options.chat = chat;
    std::string json =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": "
        "\"assistant\", \"content\": \"b\"}, {\"role\": \"assistant\", \"content\": \"c\"}";
    expect_error(json + "]}", "messages[1]: ", RowNeed::completion);
    expect_error(json + "]}", "chat.train=last", RowNeed::completion);
    expect_error(json + "]}", "messages[1]: ");
    EXPECT_EQ(read(json + "], \"first\": 2}").first, 2);       // logprob needs no more
    EXPECT_EQ(read(json + "]}", RowNeed::prompt).no_mask, ""); // of a prompt nothing is trained
    options.allow_no_mask = true;
    EXPECT_NE(read(json + "]}").no_mask, "");
}

TEST_F(Rows, AConversationThatTheAssistantBeginsIsMarkedFromItsFirstToken) {
    std::string json = "{\"messages\": [{\"role\": \"assistant\", \"content\": \"Hi\"}]";
    Row row = read(json + "}", RowNeed::completion);
    EXPECT_EQ(row.mask[0], 1);
    EXPECT_EQ(row.first, 1); // which nothing stands before
    EXPECT_EQ(read(json + ", \"first\": 2}").mask[1], 0);
}

TEST_F(Rows, TemplatesErrorsNameTheRowAndTheTemplatesLine) {
    auto chat = std::make_shared<ChatTemplate>();
    chat->sources["default"] = {"\n{{ raise_exception('roles must alternate') }}", "x.jinja"};
    options.chat = chat;
    expect_error("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}",
                 "x.jinja, line 2: the template raises: roles must alternate");
}

TEST_F(Rows, DataTemplateChatRendersPromptAndCompletion) {
    options.template_name = "chat";
    Row pair = read("{\"question\": \"2+2?\", \"answer\": \"4\"}");
    Row messages = read(
        "{\"messages\": [{\"role\": \"user\", \"content\": \"2+2?\"}, {\"role\": \"assistant\", "
        "\"content\": \"4\"}]}");
    EXPECT_EQ(pair.ids, messages.ids);
    EXPECT_EQ(pair.mask, messages.mask);
    Row prompt = read("{\"prompt\": \"2+2?\", \"answer\": 4}", RowNeed::prompt);
    EXPECT_EQ(prompt.ids.size(), (size_t)pair.first);
    EXPECT_EQ(prompt.answer, "4");
    EXPECT_EQ(dump_row(other_keys(prompt)), "{\"answer\":4}");
    Row mixed = read("{\"prompt\": \"2+2?\", \"completion_ids\": [9, 8]}");
    EXPECT_EQ(mixed.ids, join(prompt.ids, {9, 8}));
    EXPECT_EQ(mixed.first, (int)prompt.ids.size());
    EXPECT_EQ(mixed.mask.back(), 1);
}

TEST_F(Rows, ErrorsNameTheRowAndWhatIsKnown) {
    expect_error("{\"id\": 1, \"txt\": \"a\"}", "id, txt");
    expect_error("{\"id\": 1}", "\"messages\"");
    expect_error("{\"completion\": \"a\"}", "prompt");
    expect_error("{\"ids\": [700000]}", "outside the vocabulary");
    expect_error("{\"ids\": [-1]}", "token ids");
    expect_error("{\"ids\": [1.5]}", "token ids");
    expect_error("{\"ids\": [99999999999]}", "token ids");
    expect_error("{\"ids\": []}", "no tokens");
    expect_error("{\"text\": 7}", "a string");
    expect_error("{\"messages\": []}", "not empty");
    expect_error("{\"messages\": \"hi\"}", "list");
    expect_error("{\"messages\": [{\"role\": \"user\"}]}", "messages[0]");
    expect_error("{\"messages\": [{\"role\": \"user\", \"content\": null, \"weight\": 0}]}",
                 "messages[0]: \"content\" is missing");
    expect_error("{\"messages\": [{\"role\": 1, \"content\": \"a\"}]}", "role");
    expect_error("{\"messages\": [\"a\"]}", "messages[0]");
    expect_error("{\"prompt\": \"a\"}", "no completion", RowNeed::completion);
    expect_error("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", "no completion",
                 RowNeed::completion);
    options.max_length = 3;
    expect_error("{\"ids\": [1, 2, 3, 4]}", "context is 3");
    options.eos = -1;
    expect_error("{\"prompt\": \"a\", \"completion\": \"b\"}", "data.add_eos=false");
    options.tokenizer = nullptr;
    expect_error("{\"text\": \"a\"}", "no tokenizer");
    EXPECT_EQ(read("{\"ids\": [1, 2]}").ids.size(), 2u);
}

TEST_F(Rows, FilesNameTheLine) {
    std::string path = testing::TempDir() + "rows_test.jsonl";
    auto problem = [&](const std::string& text) -> std::string {
        write_file(path, text);
        try {
            read_rows(path, options, RowNeed::any);
        } catch (const Error& error) {
            return error.what();
        }
        return "no error";
    };
    EXPECT_NE(problem("{\"text\": \"a\"}\n\n{\"text\": \n").find(path + ":3"), std::string::npos);
    EXPECT_NE(problem("{\"text\": \"a\"}\n[1]\n").find(path + ":2"), std::string::npos);
    EXPECT_NE(problem("\n \n").find("no rows"), std::string::npos);
    EXPECT_NE(problem("{\"a\": " + std::string(100000, '[') + "1").find("256 levels"),
              std::string::npos);
    remove_tree(path);
}

TEST_F(Rows, EndOfSequenceComesFromTheTokenizersConfig) {
    EXPECT_EQ(options.eos, tokenizer->id_of("<|eot_id|>"));
    use("qwen2");
    EXPECT_EQ(options.eos, tokenizer->id_of("<|im_end|>"));
    EXPECT_EQ(end_of_sequence(golden + "flags", *tokenizer), -1);
}

TEST_F(Rows, GenerationStopsAtTheIdsOfTheModelAndTheTokenizer) {
    const std::string directory = testing::TempDir() + "stops/";
    make_directories(directory);
    write_file(directory + "tokenizer_config.json", "{\"eos_token\": \"<|eot_id|>\"}");
    int end = tokenizer->id_of("<|eot_id|>");
    EXPECT_EQ(stop_ids(directory, *tokenizer), (std::vector<int32_t>{end}));
    write_file(directory + "config.json", "{\"eos_token_id\": 5}");
    EXPECT_EQ(stop_ids(directory, *tokenizer), (std::vector<int32_t>{5, end}));
    write_file(directory + "generation_config.json", format("{\"eos_token_id\": [%d, 6]}", end));
    EXPECT_EQ(stop_ids(directory, *tokenizer), (std::vector<int32_t>{end, 6}));
    remove_tree(directory);
}
