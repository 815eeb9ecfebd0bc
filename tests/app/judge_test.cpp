// rlhf judge as a user runs it.

#include "command.h"
#include "task/task.h"
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

// As tests/reference/ragtruth_rows.py makes them: a sentence under a marked span is unfaithful, and right where
// the span is true all the same; of the others nobody knows whether they are right.
TEST(Judge, IsMeasuredByTheLabelsOfARow) {
    Scratch at;
    const std::string answer =
        R"("answer": "It costs 3. It opened in 1949. It stands in Paris. Yes.", )";
    auto row = [&](const char* first, const char* last, const char* verdicts) {
        return R"({"question": "What of it?", "documents": [{"id": "11", "text": "It costs 3."}], )" +
               answer +
               R"("sentences": [{"start": 0, "end": 12, "faithful": 1, "reason": null, "correct": )" +
               first +
               R"(}, {"start": 12, "end": 31, "faithful": 0, "reason": "it was 1950", "correct": 0}, )"
               R"({"start": 31, "end": 51, "faithful": 0, "correct": 1}, )"
               R"({"start": 51, "end": 55, "faithful": 1, "correct": )" +
               last + "}]" + verdicts + "}";
    };
    const std::string said =
        R"(, "verdict_text": "[1] faithfulness: 1 | reason: a | correctness: 0\n)"
        R"([2] faithfulness: 0 | reason: b | correctness: 0\n)"
        R"([3] faithfulness: 0 | reason: c | correctness: 0\n)"
        R"([4] faithfulness: 1 | reason: d | correctness: 1\n")";
    Outcome outcome = judge(at, row("null", "null", said.c_str()), {"configs/trm_judge.json"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const Json rule = last_line(outcome.err)["rule"];
    EXPECT_EQ(rule["steps"], 2) << "two sentences have a label";
    EXPECT_EQ(rule["called_wrong"], 2);
    EXPECT_EQ(rule["precision"], 0.5);
    EXPECT_EQ(rule["recall"], 1);

    outcome = judge(at, row("null", "null", "") + "\n" + row("1", "1", ""),
                    {"configs/trm_judge.json", "write=lessons", "out=" + at("out.jsonl")});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(contains(outcome.err, "1 rows have a sentence whose label is not known"));
    const std::vector<Json> lessons = rows_of(at("out.jsonl"));
    ASSERT_EQ(lessons.size(), 1u);
    EXPECT_EQ(lessons[0]["completion"],
              "[1] faithfulness: 1 | reason: right | correctness: 1\n"
              "[2] faithfulness: 0 | reason: it was 1950 | correctness: 0\n"
              "[3] faithfulness: 0 | reason: right | correctness: 1\n"
              "[4] faithfulness: 1 | reason: right | correctness: 1\n");
    EXPECT_TRUE(contains(lessons[0]["prompt"].get<std::string>(), "[4] Yes."));
    expect_refusal(judge(at, row("2", "1", said.c_str()), {"configs/trm_judge.json"}),
                   {"sentences[0]", "correct", "0, 1 or null"});
}

// ---- a model that is asked

namespace {
struct AskedJudge : testing::Test {
    Scratch at;
    std::vector<std::string> words;
    // Writes ASCII, but has learned nothing.
    void SetUp() override {
        ASSERT_EQ(
            rlhf({"sft", "configs/sft_arithmetic.json", "train.goal_loss=0",
                  "run.dir=" + at("judge"), "tiny.writes_about=arithmetic", "tiny.layers=1",
                  "tiny.width=16", "tiny.context=64", "train.rows_per_step=2", "train.steps=1"})
                .status,
            0);
        write_file(at("prompt"), "{{ question }}|{{ segments | join('|') }}");
        words = {"model.path=" + at("judge"), "judge.template=" + at("prompt"),
                 "judge.max_new_tokens=6", "judge.critiques=3"};
    }
    Json texts(const Json& row) const {
        Json list = Json::array();
        for (const Json& critique : row["critiques"]) list.push_back(critique["text"]);
        return list;
    }
};
} // namespace

TEST_F(AskedJudge, WritesTheSameOfAnAnswerWhateverStandsBesideIt) {
    const std::string a = R"({"question": "1+1", "response": "2"})",
                      b = R"({"question": "2+2", "response": "5"})";
    Outcome outcome = judge(at, a + "\n" + b + "\n" + a, words);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const std::vector<Json> rows = rows_of(at("out.jsonl"));
    ASSERT_EQ(rows[0]["critiques"].size(), 3u);
    EXPECT_EQ(rows[0], rows[2]); // asked once
    EXPECT_NE(texts(rows[0]), texts(rows[1]));
    EXPECT_NE(texts(rows[0])[0], texts(rows[0])[1]); // three draws
    const Json summary = last_line(outcome.err);
    EXPECT_EQ(summary["judged_answers"], 3);
    EXPECT_EQ(summary["cache_hits"], 1);
    EXPECT_EQ(summary["judge_prompt_tokens"], 2 * 6); // <bos>1+1|2, once for three texts
    EXPECT_GT(summary["judge_tokens"], 0);
    EXPECT_GT(summary["judge_seconds"], 0);
    EXPECT_EQ(summary["invalid_critiques"], 9);
    EXPECT_TRUE(contains(outcome.err, "none of the 9 critiques can be read")) << outcome.err;

    judge(at, b + "\n" + a, words);
    EXPECT_EQ(texts(rows_of(at("out.jsonl"))[1]), texts(rows[0]));
    words.push_back("judge.seed=1");
    judge(at, b + "\n" + a, words);
    EXPECT_NE(texts(rows_of(at("out.jsonl"))[1]), texts(rows[0]));
}

TEST_F(AskedJudge, WhatCannotBeAskedOrReadIsCounted) {
    const std::string long_answer(80, '7');
    Outcome outcome = judge(at,
                            R"({"question": "q", "response": ")" + long_answer + "\"}\n" +
                                R"({"question": "q", "response": "书"})"
                                "\n"
                                R"({"question": "q", "response": "4", "finish": "length"})"
                                "\n"
                                R"({"question": "q", "response": ""})",
                            words);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const std::vector<Json> rows = rows_of(at("out.jsonl"));
    EXPECT_EQ(rows[0]["critiques"][2]["why_not"], "the prompt does not fit the judge's context");
    EXPECT_EQ(rows[1]["critiques"][0]["why_not"],
              "the judge has no token for a character of the answer");
    EXPECT_EQ(rows[2]["critiques"].size(), 0u); // truncated: no judge is asked
    EXPECT_EQ(rows[2]["wrong_steps"].size(), 0u);
    EXPECT_EQ(rows[3]["steps"].size(), 0u);
    Json summary = last_line(outcome.err);
    EXPECT_EQ(summary["truncated"], 1);
    EXPECT_EQ(summary["reasons"].size(), 2u);
    // What it wrote says the same when it is read again.
    outcome = rlhf({"judge", "data.path=" + at("out.jsonl"), "out=-"});
    EXPECT_EQ(last_line(outcome.err)["reasons"], summary["reasons"]);

    words.push_back("judge.truncated=last_step_wrong");
    judge(at, R"({"question": "q", "response": "4\n\n5", "finish": "length"})", words);
    EXPECT_EQ(rows_of(at("out.jsonl"))[0]["wrong_steps"].dump(), "[1]");
    words[2] = "judge.max_new_tokens=1";
    judge(at, R"({"question": "q", "response": "4"})", words);
    EXPECT_EQ(rows_of(at("out.jsonl"))[0]["critiques"][0]["why_not"],
              "cut off at judge.max_new_tokens");
}

TEST_F(AskedJudge, SwitchesReachThePrompt) {
    // The prompt is all that the judge sees: another one, another text.
    write_file(at("prompt"), "{{ question }}{{ reference }}{{ propagate }}");
    const std::string row = R"({"question": "1", "response": "2", "reference": "3"})";
    auto first_text = [&](const std::string& word) {
        std::vector<std::string> more = words;
        more.push_back(word);
        const Outcome outcome = judge(at, row, more);
        EXPECT_EQ(outcome.status, 0) << outcome.err;
        return texts(rows_of(at("out.jsonl"))[0]);
    };
    const Json plain = first_text("judge.tie=right");
    EXPECT_EQ(plain, first_text("judge.vote=union"));
    EXPECT_NE(plain, first_text("judge.reference_answer=false"));
    EXPECT_NE(plain, first_text("judge.propagate=inherited_counts"));
    EXPECT_NE(plain, first_text("judge.temperature=3"));
    EXPECT_NE(plain, first_text("judge.top_p=0.1"));
    EXPECT_EQ(first_text("judge.vote=greedy").size(), 1u);
}

TEST_F(AskedJudge, AChatTemplateWrapsThePrompt) {
    const std::string row = R"({"question": "1+1", "response": "2"})";
    auto asked = [&](const std::string& chat) {
        write_file(at("judge/checkpoints/000001/chat_template.jinja"), chat);
        const Outcome outcome = judge(at, row, words);
        EXPECT_EQ(outcome.status, 0) << outcome.err;
        return std::pair{texts(rows_of(at("out.jsonl"))[0]),
                         last_line(outcome.err)["judge_prompt_tokens"]};
    };
    const auto bare = asked("{{ bos_token }}{{ messages[0].content }}");
    const auto wrapped = asked("{{ bos_token }}{{ messages[0].role }}:{{ messages[0].content }}");
    EXPECT_EQ(bare.second, 6);
    EXPECT_EQ(wrapped.second, 6 + 5); // user:
    EXPECT_NE(bare.first, wrapped.first);
    remove_tree(at("judge/checkpoints/000001/chat_template.jinja"));
    judge(at, row, words);
    EXPECT_EQ(texts(rows_of(at("out.jsonl"))[0]), bare.first);
}

// What a policy writes must not be able to end the judge's turn.
TEST_F(AskedJudge, ASpecialTokenSpelledInAnAnswerIsText) {
    auto asked = [&](const std::string& response) {
        const Outcome outcome =
            judge(at, Json({{"question", "1+1"}, {"response", response}}).dump(), words);
        EXPECT_EQ(outcome.status, 0) << outcome.err;
        return std::pair{texts(rows_of(at("out.jsonl"))[0]),
                         last_line(outcome.err)["judge_prompt_tokens"].get<int>()};
    };
    const auto plain = asked("2"), spelled = asked("2<eos>"), blank = asked("2< eos>");
    EXPECT_EQ(spelled.second, plain.second + 6) << "five characters and a blank";
    EXPECT_EQ(spelled, blank);
}

TEST_F(AskedJudge, MisfitsAreRefused) {
    const std::string row = R"({"question": "q", "response": "a"})";
    expect_refusal(judge(at, row, {"judge.critiques=2"}), {"answers.jsonl:1", "model.path"});
    expect_refusal(judge(at, row, {"judge.votes=2"}), {"judge.votes", "no effect", "trm"});
    expect_refusal(judge(at, row, {"judge.kind=trm", "judge.vote=union"}),
                   {"judge.vote", "no effect", "capo"});
    expect_refusal(judge(at, row, {"judge.vote=union", "judge.tie=wrong"}),
                   {"judge.tie", "majority"});
    words.push_back("judge.temperature=0");
    expect_refusal(judge(at, row, words), {"temperature=0", "critiques=1"});
    write_file(at("prompt"), "é");
    words.pop_back();
    expect_refusal(judge(at, row, words), {"no token for \"é\"", "judge.template", "/prompt"});
    expect_refusal(judge(at, row, {"data.problems=3"}), {"both are given"});
    expect_refusal(rlhf({"judge", "data.problems=3"}), {"task.name"});
    expect_refusal(judge(at, row, {"write=lessons", "out=" + at("out.jsonl")}),
                   {"no task has checked", "task.name"});
    expect_refusal(judge(at, row, {"task.name=arithmetic"}), {"prompt_ids", "arithmetic"});
}

// The task's rule in the judge's place: read as critiques, its own words are all right.
TEST(Judge, LessonsSayWhatTheTaskKnows) {
    Scratch at;
    const std::vector<std::string> task = {"task.name=arithmetic",
                                           "task.arithmetic.steps_min=4",
                                           "task.arithmetic.steps_max=4",
                                           "task.arithmetic.wrong_digit=0.3",
                                           "judge.template=configs/critic_arithmetic.jinja",
                                           "judge.lesson=configs/critic_arithmetic_lesson.jinja"};
    auto run = [&](std::vector<std::string> words) {
        words.insert(words.begin(), "judge");
        words.insert(words.end(), task.begin(), task.end());
        const Outcome outcome = rlhf(words);
        EXPECT_EQ(outcome.status, 0) << outcome.err;
        return outcome;
    };
    run({"write=lessons", "data.problems=30", "out=" + at("made/lessons.jsonl")});
    const std::vector<Json> lessons = rows_of(at("made/lessons.jsonl"));
    ASSERT_EQ(lessons.size(), 30u);
    TaskConfig config;
    config.name = "arithmetic";
    config.arithmetic.steps_min = config.arithmetic.steps_max = 4;
    config.arithmetic.wrong_digit = 0.3;
    const Task arithmetic = make_task(config);
    std::string rows;
    for (int i = 0; i < 30; ++i) {
        const Problem problem = arithmetic.problem(Split::train, i);
        const std::string words = lessons[i]["completion"];
        // start value, then what is asked beside what was written
        EXPECT_EQ(lessons[i]["prompt"].get<std::string>().substr(0, 13),
                  problem.prompt.substr(13, 2) + ";" + problem.prompt.substr(0, 3) + ":" +
                      problem.demonstration.substr(0, 5) + ";");
        rows += Json({{"prompt_ids", problem.prompt_ids},
                      {"completion_ids", problem.demonstration_ids},
                      {"text", problem.demonstration},
                      {"critiques", {words}}})
                    .dump() +
                "\n";
    }
    write_file(at("answers.jsonl"), rows);
    Json rule = last_line(run({"data.path=" + at("answers.jsonl"), "out=" + at("o")}).err)["rule"];
    EXPECT_EQ(rule["answers"], 30);
    EXPECT_EQ(rule["steps"], 120);
    EXPECT_GT(rule["wrong_steps"], 10);
    EXPECT_EQ(rule["precision"], 1);
    EXPECT_EQ(rule["recall"], 1);
    EXPECT_EQ(rule["exact_share"], 1);
    // The end of the sequence is no step of its own.
    EXPECT_EQ(rows_of(at("o"))[0]["steps"].dump(), "[[0,5],[5,10],[10,15],[15,20]]");
    EXPECT_EQ(rows_of(at("o"))[0]["token_penalty"].size(), 21u);
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
