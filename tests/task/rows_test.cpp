#include "base/file.h"
#include "task/task.h"

#include "testing.h"

#include <set>

static const char* const gsm8k_rows = "tests/golden/gsm8k/rows.jsonl";

static TaskConfig rows_config(const char* name, const std::string& path) {
    TaskConfig config;
    config.name = name;
    config.data = path;
    config.shuffle = false;
    return config;
}

static std::string temporary(const char* name, const std::string& text) {
    std::string path = testing::TempDir() + name;
    write_file(path, text);
    return path;
}

TEST(Gsm8k, EveryDemonstrationPassesItsOwnRule) {
    for (bool calculator : {false, true})
        for (const char* form : {"any", "marked"}) {
            TaskConfig config = rows_config("gsm8k", gsm8k_rows);
            config.calculator = calculator;
            config.answer_form = form;
            Task task = make_task(config);
            ASSERT_EQ(task.count(Split::train), 40);
            ASSERT_EQ(task.count(Split::eval), 0);
            int annotated = 0;
            for (int i = 0; i < 40; ++i) {
                Problem problem = task.problem(Split::train, i);
                EXPECT_EQ(task.verify(problem, {}, problem.demonstration).reward, 1) << i;
                annotated += problem.demonstration.find("<<") != std::string::npos;
                Problem other = task.problem(Split::train, (i + 1) % 40);
                EXPECT_EQ(task.verify(problem, {}, other.demonstration).reward,
                          other.answer == problem.answer);
            }
            EXPECT_EQ(annotated, calculator ? 39 : 0); // one row of the forty has none
        }
}

TEST(Gsm8k, ReadsQuestionGoldAndWorkedAnswer) {
    Problem problem = make_task(rows_config("gsm8k", gsm8k_rows)).problem(Split::train, 0);
    EXPECT_EQ(problem.prompt.substr(0, 5), "Janet");
    EXPECT_EQ(problem.answer, "18");
    EXPECT_NE(problem.demonstration.find("16 - 3 - 4 = 9 duck eggs"), std::string::npos);
    EXPECT_EQ(problem.where, std::string(gsm8k_rows) + ":1");
    EXPECT_EQ(problem.row["question"], problem.prompt);
}

TEST(RowsTask, SharesAreSplitByPromptAndNeverOverlap) {
    TaskConfig config = rows_config("gsm8k", gsm8k_rows);
    config.eval_share = 0.3;
    Task task = make_task(config);
    int64_t train = task.count(Split::train), eval = task.count(Split::eval);
    EXPECT_EQ(train + eval, 40);
    EXPECT_GT(eval, 4);
    EXPECT_LT(eval, 22);
    std::set<std::string> seen;
    for (int i = 0; i < train; ++i) seen.insert(task.problem(Split::train, i).prompt);
    for (int i = 0; i < eval; ++i) EXPECT_FALSE(seen.count(task.problem(Split::eval, i).prompt));
}

TEST(RowsTask, RowsOfTheEvalFileAreNotTrainedOn) {
    TaskConfig config = rows_config("gsm8k", gsm8k_rows);
    std::string text = read_file(gsm8k_rows);
    config.eval_data = temporary("eval.jsonl", text.substr(0, text.find('\n') + 1));
    Task task = make_task(config);
    EXPECT_EQ(task.count(Split::eval), 1);
    EXPECT_EQ(task.count(Split::train), 39);
}

TEST(RowsTask, EveryEpochHasEachRowOnceInItsOwnOrder) {
    TaskConfig config = rows_config("gsm8k", gsm8k_rows);
    config.shuffle = true;
    Task task = make_task(config), again = make_task(config);
    std::vector<std::string> epochs[2];
    for (int i = 0; i < 80; ++i) epochs[i / 40].push_back(task.problem(Split::train, i).where);
    EXPECT_NE(epochs[0], epochs[1]);
    EXPECT_EQ(std::set(epochs[0].begin(), epochs[0].end()).size(), 40u);
    EXPECT_EQ(std::set(epochs[1].begin(), epochs[1].end()).size(), 40u);
    for (int i : {79, 3, 41})
        EXPECT_EQ(again.problem(Split::train, i).where, epochs[i / 40][i % 40]);
}

TEST(RowsTask, JsonlTakesEveryFormOfPromptAndAnswer) {
    std::string path = temporary(
        "mixed.jsonl",
        "{\"prompt\": \"2+3=\", \"answer\": 5, \"id\": 7}\n"
        "{\"question\": \"Capital of France?\", \"answer\": \"Paris\", \"completion\": \"#### "
        "Paris\"}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"half?\"}], \"answer\": 0.5}\n"
        "{\"prompt_ids\": [1, 2], \"answer\": \"1,000\"}\n");
    Task task = make_task(rows_config("jsonl", path));
    auto reward = [&](int i, const char* text) {
        return task.verify(task.problem(Split::train, i), {}, text).reward;
    };
    EXPECT_EQ(reward(0, "it is 5"), 1);
    EXPECT_EQ(reward(0, "it is 6"), 0);
    EXPECT_EQ(reward(0, "it is"), 0);
    EXPECT_EQ(task.problem(Split::train, 0).row["id"], 7);
    EXPECT_EQ(reward(1, "\\boxed{Paris}"), 1);
    EXPECT_EQ(task.problem(Split::train, 1).demonstration, "#### Paris");
    EXPECT_EQ(reward(2, "1/2"), 1);
    EXPECT_EQ(task.problem(Split::train, 3).prompt_ids, (std::vector<int32_t>{1, 2}));
    EXPECT_EQ(reward(3, "1000"), 1);
}

static std::string message_of(const char* name, const std::string& rows) {
    try {
        make_task(rows_config(name, temporary("bad.jsonl", rows)));
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

TEST(RowsTask, BadRowsNameFileAndLine) {
    EXPECT_NE(message_of("jsonl", "{\"prompt\": \"a\"}\n").find("bad.jsonl:1"), std::string::npos);
    EXPECT_NE(message_of("jsonl", "{\"prompt\":\"a\",\"answer\":1}\n{\"answer\": 1}\n")
                  .find("bad.jsonl:2"),
              std::string::npos);
    EXPECT_NE(message_of("jsonl", "{\"prompt\": \"a\", \"answer\": [1]}\n").find("array"),
              std::string::npos);
    EXPECT_NE(message_of("gsm8k", "{\"question\": \"a\", \"answer\": \"1\"}\n").find("####"),
              std::string::npos);
    EXPECT_NE(message_of("gsm8k", "").find("no rows"), std::string::npos);
    EXPECT_THROW(make_task(TaskConfig()), Error);
    EXPECT_THROW(make_task(rows_config("gsm8k", "")), Error);
}
