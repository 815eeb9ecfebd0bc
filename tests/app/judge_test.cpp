// rlhf judge as a user runs it.

#include "command.h"
#include "text/tokenizer.h"

static const std::string qwen2 = "tests/golden/tokenizers/qwen2";

static Outcome judge(const Scratch& at, const std::string& rows,
                     std::vector<std::string> words = {}) {
    write_file(at("answers.jsonl"), rows);
    words.insert(words.begin(), {"judge", "data.path=" + at("answers.jsonl")});
    if (words.back().rfind("out=", 0) != 0) words.push_back("out=" + at("out.jsonl"));
    return rlhf(words);
}

static Json last_line(const std::string& text) {
    size_t end = text.find_last_not_of('\n');
    size_t begin = text.rfind('\n', end);
    return parse_json(text.substr(begin + 1, end - begin), "standard error");
}

static const std::string four =
    R"({"id": 7, "question": "q", "response": "a\n\nb\n\nc\n\nd", "critiques": )"
    R"(["\\boxed{[1,3]}", "\\boxed{[1,2,3]}", "so \\boxed{Step 1, 3}", "\\boxed{2,3}", "[0]"]})";

TEST(Judge, VotesOnStoredCritiquesWithoutAModel) {
    Scratch at;
    Outcome outcome = judge(at, four + "\n" + R"({"prompt": "q", "answer": "", "critiques": []})",
                            {"configs/capo_judge.json"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    std::vector<Json> rows = rows_of(at("out.jsonl"));
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_EQ(rows[0]["id"], 7); // unknown keys travel through
    EXPECT_EQ(rows[0]["steps"].dump(), "[[0,3],[3,6],[6,9],[9,10]]");
    EXPECT_EQ(rows[0]["votes"].dump(), "[0,3,2,4]");
    EXPECT_EQ(rows[0]["valid_critiques"], 4);
    EXPECT_EQ(rows[0]["wrong_steps"].dump(), "[1,3]");
    EXPECT_EQ(rows[0]["step_penalty"].dump(), "[0.0,1.0,0.0,1.0]");
    EXPECT_EQ(rows[0]["critiques"][2].dump(), R"({"text":"so \\boxed{Step 1, 3}","wrong":[1,3]})");
    EXPECT_EQ(rows[0]["critiques"][4]["wrong"], nullptr);
    EXPECT_EQ(rows[0]["critiques"][4]["why_not"], "no \\boxed{...}");
    EXPECT_FALSE(rows[0].contains("token_penalty"));
    EXPECT_EQ(rows[1]["steps"].dump(), "[]");
    EXPECT_EQ(rows[1]["wrong_steps"].dump(), "[]");
    Json summary = last_line(outcome.err);
    EXPECT_EQ(summary["rows"], 2);
    EXPECT_EQ(summary["critiques"], 5);
    EXPECT_EQ(summary["invalid_critiques"], 1);
    EXPECT_EQ(summary["rows_without_vote"], 1);
    EXPECT_EQ(summary["unparsable"], 0);
    EXPECT_EQ(summary["judge_tokens"], 0);
    EXPECT_EQ(summary["reasons"]["no \\boxed{...}"], 1);

    // What it wrote can be read again, under another vote.
    outcome = rlhf({"judge", "data.path=" + at("out.jsonl"), "judge.vote=average", "out=-"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(contains(outcome.out, "\"step_penalty\":[0.0,0.75,0.5,1.0]")) << outcome.out;
    outcome = rlhf({"judge", "data.path=" + at("out.jsonl"), "judge.tie=wrong", "out=-"});
    EXPECT_TRUE(contains(outcome.out, "\"wrong_steps\":[1,2,3]")) << outcome.out;
}

TEST(Judge, PenaltiesReachTheTokensOfAWrongStep) {
    Scratch at;
    auto tokenizer = Tokenizer::load(qwen2);
    const std::string response = "3 + 4 = 8.\n\nSo 8 书.";
    std::vector<int32_t> ids = tokenizer->encode(response, false);
    ids.push_back(tokenizer->id_of("<|im_end|>"));
    Json row = {{"question", "q"},
                {"response", response},
                {"completion_ids", ids},
                {"critiques", {"\\boxed{[1]}"}}};
    Outcome outcome = judge(at, row.dump(), {"model.path=" + qwen2});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    std::vector<size_t> begins;
    tokenizer->decode(ids, true, &begins);
    Json result = rows_of(at("out.jsonl"))[0];
    ASSERT_EQ(result["token_penalty"].size(), ids.size());
    for (size_t t = 0; t < ids.size(); ++t) // the end of the sequence belongs to the last step
        EXPECT_EQ(result["token_penalty"][t], begins[t] >= 12 ? 1.0 : 0.0) << t;

    outcome = judge(at, row.dump());
    EXPECT_EQ(outcome.status, 0);
    EXPECT_TRUE(contains(outcome.err, "token_penalty is left out")) << outcome.err;
    row["response"] = "3 + 4 = 7.\n\nSo 8 书.";
    expect_refusal(judge(at, row.dump(), {"model.path=" + qwen2}),
                   {"answers.jsonl:1", "byte 8", "tokenizer"});
}

TEST(Judge, ReadsStoredVerdicts) {
    Scratch at;
    Outcome outcome = judge(
        at,
        R"({"question": "q", "response": "A is. B.", "documents": [{"id": 1, "text": "d"}], )"
        R"("verdict_text": "[1] faithfulness: 1 | reason: says so | correctness: 0\n[2] faithfulness: 0 | reason: | correctness: 1\n"})"
        "\n"
        R"({"question": "q", "response": "A is. B.", "verdict_text": "[1] faithfulness: 1"})"
        "\n"
        R"({"question": "q", "response": ""})"
        "\n"
        R"({"response": "A is. B.", "sentences": [{"start": 0, "end": 8}], )"
        R"("verdict_text": "[1] faithfulness: 0 | reason: x | correctness: 0"})",
        {"configs/trm_judge.json"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    std::vector<Json> rows = rows_of(at("out.jsonl"));
    EXPECT_EQ(rows[0]["sentences"].dump(), "[[0,6],[6,8]]");
    EXPECT_EQ(rows[0]["verdicts"].dump(), R"([{"faithful":1,"reason":"says so","correct":0},)"
                                          R"({"faithful":0,"reason":"","correct":1}])");
    EXPECT_EQ(rows[1]["verdicts"], nullptr);
    EXPECT_EQ(rows[1]["why_not"], "a line has no reason");
    EXPECT_EQ(rows[2]["verdicts"].dump(), "[]"); // an empty answer: no judge is asked
    EXPECT_EQ(rows[3]["sentences"].dump(), "[[0,8]]");
    EXPECT_EQ(last_line(outcome.err)["unparsable"], 1);
}

TEST(Judge, MisfitsAreRefused) {
    Scratch at;
    expect_refusal(judge(at, R"({"question": "q"})"), {"answers.jsonl:1", "response"});
    expect_refusal(judge(at, R"({"response": "a", "critiques": "x"})"),
                   {"answers.jsonl:1", "critiques"});
    expect_refusal(judge(at, R"({"response": "a", "critiques": [1]})"), {"critiques[0]"});
    expect_refusal(judge(at, R"({"response": "a", "critiques": [], "documents": [{"id": 1}]})"),
                   {"documents[0]", "text"});
    expect_refusal(judge(at, R"({"response": "a", "verdict_text": "", "sentences": [[0, 2]]})",
                         {"judge.kind=trm"}),
                   {"sentences[0]", "1 bytes"});
    expect_refusal(rlhf({"judge"}), {"data.path"});
    EXPECT_FALSE(file_exists(at("out.jsonl")));
}

TEST(Judge, HelpPrintsTheBuiltInPrompts) {
    Outcome outcome = rlhf({"help", "judge"});
    EXPECT_EQ(outcome.status, 0);
    for (const char* part :
         {"judge.critiques", "<step_{{ loop.index0 }}>", "faithfulness: 1 | reason"})
        EXPECT_TRUE(contains(outcome.out, part)) << part;
}
