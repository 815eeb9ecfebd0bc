#include "app/problems.h"

#include "command.h"
#include "testing.h"

namespace {

// A task of prompts and worked answers of so many tokens each, in a file of its own.
Task task_of(const Scratch& at, const std::vector<std::pair<int, int>>& lengths,
             double eval_share = 0) {
    std::string text;
    for (size_t i = 0; i < lengths.size(); ++i) {
        std::vector<int> prompt(lengths[i].first, (int)i + 1), answer(lengths[i].second, 1);
        Json row = {{"prompt_ids", prompt}, {"completion_ids", answer}, {"answer", 1}};
        text += dump_row(row) + "\n";
    }
    write_file(at("rows.jsonl"), text);
    TaskConfig config;
    config.name = "jsonl", config.data = at("rows.jsonl"), config.eval_share = eval_share;
    return make_task(config);
}

template <class F> std::string error_of(F call) {
    try {
        call();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

std::string refusal(const Task& task, RowNeed need, int64_t count = INT64_MAX) {
    RowOptions options;
    options.vocabulary = 100, options.max_length = 10;
    return error_of([&] { check_lengths(task, Split::train, count, options, need); });
}

} // namespace

TEST(Problems, APromptLeavesRoomForAToken) {
    Scratch at;
    EXPECT_EQ(refusal(task_of(at, {{9, 5}, {1, 1}}), RowNeed::prompt), "");
    const std::string text =
        refusal(task_of(at, {{3, 1}, {4, 1}, {10, 1}, {5, 1}, {12, 1}, {1, 1}}), RowNeed::prompt);
    EXPECT_TRUE(contains(text, "rows.jsonl:3: ")) << text; // the first in the file, though shuffled
    EXPECT_TRUE(contains(text, "10 tokens") && contains(text, "context is 10")) << text;
    EXPECT_TRUE(contains(text, "2 of 6 rows")) << text;
}

TEST(Problems, AWorkedAnswerFitsWhole) {
    Scratch at;
    EXPECT_EQ(refusal(task_of(at, {{9, 1}, {4, 6}}), RowNeed::completion), "");
    const std::string text = refusal(task_of(at, {{9, 1}, {4, 7}}), RowNeed::completion);
    EXPECT_TRUE(contains(text, "rows.jsonl:2: ") && contains(text, "11 tokens")) << text;
}

TEST(Problems, OnlyWhatIsAskedIsLookedAt) {
    Scratch at;
    Task task = task_of(at, {{3, 1}, {30, 1}});
    const bool long_one_first =
        task.problem(Split::train, 0).prompt_ids.size() == 30; // the order is the seed's
    EXPECT_EQ(refusal(task, RowNeed::prompt, 1).empty(), !long_one_first);
    EXPECT_NE(refusal(task, RowNeed::prompt, 2), "");
    TaskConfig endless;
    endless.name = "arithmetic";
    EXPECT_EQ(refusal(make_task(endless), RowNeed::prompt), "");
}

TEST(Problems, AsManyAreHeldOutAsThereAre) {
    Scratch at;
    std::vector<std::pair<int, int>> rows(40, {3, 1});
    Task some = task_of(at, rows, 0.5), none = task_of(at, rows);
    const int64_t count = some.count(Split::eval);
    ASSERT_GT(count, 5);
    EXPECT_EQ(held_out_problems(some, 256, "x=0"), count);
    EXPECT_EQ(held_out_problems(some, 5, "x=0"), 5);
    EXPECT_EQ(held_out_problems(none, 0, "x=0"), 0);
    const std::string text = error_of([&] { held_out_problems(none, 256, "x=0"); });
    for (const char* named : {"no row is held out", "task.eval_data", "task.eval_share", "x=0"})
        EXPECT_TRUE(contains(text, named)) << text;
}

// Every command that asks a task or a file looks at all of it before it begins.
TEST(Problems, ALongRowIsRefusedByItsNumberBeforeTheFirstStep) {
    Scratch at;
    Outcome sft = rlhf({"sft", "task.name=arithmetic", "tiny.layers=1", "tiny.width=16",
                        "tiny.context=32", "train.rows_per_step=2", "train.steps=1",
                        "data.eval_rows=1", "run.dir=" + at("model")});
    ASSERT_EQ(sft.status, 0) << sft.err;
    std::string rows;
    for (int i = 0; i < 12; ++i)
        rows += dump_row({{"prompt_ids", std::vector<int>(i == 6 ? 40 : 5, i)},
                          {"completion_ids", {1}},
                          {"answer", "1"}}) +
                "\n";
    write_file(at("rows.jsonl"), rows);
    const std::vector<std::string> commands[] = {
        {"rl", "run.dir=" + at("run"), "train.eval_problems=0", "train.prompts_per_step=1"},
        {"sft", "run.dir=" + at("run"), "train.rows_per_step=1"},
        {"pairs", "out=" + at("pairs")},
        {"eval"},
    };
    for (std::vector<std::string> words : commands) {
        for (const std::string& word : {"model.path=" + at("model"), std::string("task.name=jsonl"),
                                        "task.data=" + at("rows.jsonl")})
            words.push_back(word);
        Outcome outcome = rlhf(words);
        EXPECT_EQ(outcome.status, 1) << words[0];
        EXPECT_TRUE(contains(outcome.err, "rows.jsonl:7: ") &&
                    contains(outcome.err, words[0] == "sft" ? "41 tokens" : "40 tokens") &&
                    contains(outcome.err, "context is 32"))
            << words[0] << ": " << outcome.err;
        EXPECT_FALSE(file_exists(at("run/metrics.jsonl")) || file_exists(at("pairs"))) << words[0];
    }
}
