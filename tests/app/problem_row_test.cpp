#include "app/inputs.h"

#include "testing.h"

static Task gsm8k() {
    TaskConfig config;
    config.name = "gsm8k";
    config.data = "tests/golden/gsm8k/rows.jsonl";
    config.shuffle = false;
    return make_task(config);
}

// The ids that the task makes and those that its tokenizer.json gives for the same text.
TEST(ProblemRow, TheBuiltInTokenizerSpellsWhatTheTaskMakes) {
    auto tokenizer = Tokenizer::parse(arithmetic::words().tokenizer_json(), "built-in tokenizer");
    EXPECT_EQ(tokenizer->vocabulary(), arithmetic::vocabulary);
    TaskConfig config;
    config.name = "arithmetic";
    config.arithmetic.base = 10, config.arithmetic.digits = 3;
    Task task = make_task(config);
    for (int i = 0; i < 20; ++i) {
        Problem problem = task.problem(Split::train, i);
        EXPECT_EQ(tokenizer->encode(problem.prompt, true), problem.prompt_ids);
        EXPECT_EQ(tokenizer->decode(problem.prompt_ids, true), problem.prompt);
        EXPECT_EQ(tokenizer->encode(problem.demonstration + "<eos>", false),
                  problem.demonstration_ids);
        EXPECT_EQ(tokenizer->decode(problem.demonstration_ids, true), problem.demonstration);
    }
    EXPECT_EQ(tokenizer->id_of("<pad>"), arithmetic::pad);
}

// The alphabet of a model that writes about answers begins with the task's own ids.
TEST(ProblemRow, TheTextAlphabetHoldsTheTasksAndAllOfAscii) {
    const Vocabulary wide = arithmetic::words().with_ascii();
    auto tokenizer = Tokenizer::parse(wide.tokenizer_json(), "built-in");
    EXPECT_EQ(tokenizer->vocabulary(), wide.size());
    EXPECT_EQ(wide.eos(), arithmetic::eos);
    EXPECT_EQ(wide.text({0, wide.eos(), wide.id("a")}, false), "0a");
    EXPECT_EQ(tokenizer->encode("+07>1<eos>", true),
              (std::vector<int32_t>{arithmetic::bos, arithmetic::plus, 0, 7, arithmetic::arrow, 1,
                                    arithmetic::eos}));
    std::string all = "\n";
    for (char c = ' '; c <= '~'; ++c) all += c;
    const std::vector<int32_t> ids = tokenizer->encode(all, false);
    EXPECT_EQ(ids.size(), all.size());
    EXPECT_EQ(tokenizer->decode(ids, false), all);
}

TEST(ProblemRow, ArithmeticRowsAreTheIdsOfTheTask) {
    TaskConfig config;
    config.name = "arithmetic";
    Problem problem = make_task(config).problem(Split::train, 5);
    RowOptions options;
    EXPECT_EQ(problem_row(problem, options, RowNeed::prompt).ids, problem.prompt_ids);
    Row row = problem_row(problem, options, RowNeed::completion);
    EXPECT_EQ(row.first, (int)problem.prompt_ids.size());
    EXPECT_EQ(row.ids.size(), problem.prompt_ids.size() + problem.demonstration_ids.size());
    EXPECT_EQ(row.ids.back(), arithmetic::eos);
}

TEST(ProblemRow, Gsm8kAsksTheQuestionAndTrainsOnTheCleanAnswer) {
    // The arithmetic tokenizer drops letters and keeps digits.
    auto tokenizer = Tokenizer::parse(arithmetic::words().tokenizer_json(), "built-in tokenizer");
    RowOptions options;
    options.tokenizer = tokenizer.get();
    options.eos = arithmetic::eos;
    Problem problem = gsm8k().problem(Split::train, 0);
    Row prompt = problem_row(problem, options, RowNeed::prompt);
    Row row = problem_row(problem, options, RowNeed::completion);
    EXPECT_EQ(tokenizer->decode(prompt.ids, true), "162"); // "16 eggs .. $2"
    EXPECT_EQ(row.first, (int)prompt.ids.size());
    std::vector<int32_t> answer(row.ids.begin() + row.first, row.ids.end());
    // 16 - 3 - 4 = 9 .. 9 * 2 = $18 .. #### 18, no <<16-3-4=9>>
    EXPECT_EQ(tokenizer->decode(answer, false), "16-3-499218"
                                                "18<eos>");
}
