#include "task/wise_text.h"

#include "task/wise_task.h"

#include <gtest/gtest.h>

namespace {

constexpr WiseStages all{true, true, true, true, true, true};

WiseExample example_turn(int wanted_turn = 0) {
    TaskConfig config;
    config.name = "mini_wise";
    const WiseTurns turns = wise_examples(config);
    for (int64_t i = 0;; ++i) {
        WiseExample example = turns.example(Split::train, i);
        if (wise_actions()[example.turn.spoken().action] == std::string("Answer-fact-text") &&
            wanted_turn-- == 0)
            return example;
    }
}

} // namespace

TEST(WiseText, WhatIsWrittenIsReadAgain) {
    TaskConfig config;
    config.name = "mini_wise";
    const WiseTurns turns = wise_examples(config);
    for (int64_t i = 0; i < 200; ++i) {
        const WiseExample example = turns.example(Split::train, i);
        const WiseFields gold = wise_gold(example.turn);
        const WiseSaid said =
            parse_wise_text(wise_completion(example.turn, gold, all), example.turn, all);
        EXPECT_EQ(said.why_not, "");
        EXPECT_EQ(said.fields.intent, gold.intent);
        EXPECT_EQ(said.fields.keyphrases, gold.keyphrases);
        EXPECT_EQ(said.fields.action, gold.action);
        EXPECT_EQ(said.fields.queries, gold.queries);
        EXPECT_EQ(said.fields.passages, gold.passages);
        EXPECT_EQ(said.fields.response, gold.response);
        for (int s = 0; s < wise_stages; ++s)
            EXPECT_EQ(wise_field_score(example.turn, said.fields, (WiseStage)s), 1);
        EXPECT_TRUE(wise_success({gold, said.fields}));
    }
}

TEST(WiseText, APromptShowsWhatWasSaidAndTheCandidatesButNotTheAnswer) {
    const WiseExample example = example_turn();
    const std::string with = wise_prompt(example.turn, *example.texts, all, true, {});
    const std::string without = wise_prompt(example.turn, *example.texts, before_search, false, {});
    EXPECT_NE(with.find("[Passages]\n[1] "), std::string::npos);
    EXPECT_NE(with.find("[Turn] intent keys action query passage response\n"), std::string::npos);
    EXPECT_EQ(with.find(example.turn.spoken().response), std::string::npos);
    EXPECT_EQ(without.find("[Passages]"), std::string::npos);
    EXPECT_NE(without.find("[Turn] intent keys\n"), std::string::npos);
    // W9 in text: the newest utterance first, the oldest cut.
    WiseTextLimits limits;
    limits.newest_first = true;
    const auto& said = example.conversation->utterances;
    const std::string newest = said[example.turn.utterance - 1].response;
    EXPECT_EQ(wise_prompt(example.turn, *example.texts, all, true, limits).find("[User] " + newest),
              0u);
    limits.context_words = 1;
    const std::string shortest = wise_prompt(example.turn, *example.texts, all, true, limits);
    EXPECT_EQ(shortest.find("[System]"), std::string::npos);
    EXPECT_NE(shortest.find(newest), std::string::npos);
}

TEST(WiseText, WhatCannotBeReadSaysWhy) {
    const WiseExample example = example_turn();
    const std::string good = wise_completion(example.turn, wise_gold(example.turn), all);
    auto why = [&](std::string text) { return parse_wise_text(text, example.turn, all).why_not; };
    EXPECT_EQ(why(good), "");
    std::string text = good;
    text.erase(text.find("<action>"), 8);
    EXPECT_EQ(why(text), "<action> is missing");
    EXPECT_EQ(why(good + " <keys> more"), "<keys> stands twice");
    EXPECT_EQ(why("<response> x <intent> y <keys> - <action> z <query> - <passage> -"),
              "<response> is out of order");
    EXPECT_EQ(why(""), "<intent> is missing");
    // A number beyond the candidates is nobody's.
    text = good;
    text.replace(text.find("<passage> ") + 10, 1, "9");
    EXPECT_TRUE(parse_wise_text(text, example.turn, all).fields.passages.empty());
}

TEST(WiseText, AFieldsScoreIsItsMetric) {
    const WiseExample example = example_turn();
    WiseFields said = wise_gold(example.turn);
    ASSERT_EQ(said.keyphrases.size(), 2u);
    said.keyphrases.pop_back();
    EXPECT_NEAR(wise_field_score(example.turn, said, WiseStage::ke), 2.0 / 3, 1e-12);
    said.passages = {"none"};
    EXPECT_EQ(wise_field_score(example.turn, said, WiseStage::ps), 0);
    said.intent = "Chitchat", said.response = "the price is 5";
    EXPECT_EQ(wise_field_score(example.turn, said, WiseStage::id), 0);
    EXPECT_EQ(wise_field_score(example.turn, said, WiseStage::rg), 0);
    EXPECT_EQ(wise_field_score(example.turn, said, WiseStage::ap), 1);
}

TEST(WiseTask, FieldsTileTheCompletionInOrder) {
    TaskConfig config;
    config.name = "mini_wise";
    const Task task = make_task(config);
    const Problem problem = task.problem(Split::train, 3);
    const auto fields = task.fields(problem, problem.demonstration);
    ASSERT_EQ(fields.size(), 6u);
    EXPECT_EQ(fields[0].begin, 0u);
    for (int s = 0; s < 6; ++s) {
        EXPECT_EQ(fields[s].name, wise_stage_names[s]);
        EXPECT_EQ(fields[s].score, 1);
        if (s == 0) continue;
        EXPECT_LE(fields[s].begin, fields[s - 1].end);
        EXPECT_GT(fields[s].begin, fields[s - 1].begin);
    }
    EXPECT_EQ(fields[5].end, problem.demonstration.size());
    EXPECT_TRUE(task.fields(problem, "nothing of the kind").empty());
    EXPECT_EQ(task.verify(problem, {}, problem.demonstration).reward, 1);
    EXPECT_EQ(task.verify(problem, {}, "<intent> Reveal").reward, 0);
}

TEST(WiseTask, PartsWithFewLabelsAreAskedForThose) {
    TaskConfig config;
    config.name = "mini_wise";
    config.mini_wise.part = "qa";
    const Problem problem = make_task(config).problem(Split::train, 0);
    EXPECT_NE(problem.prompt.find("[Turn] passage response\n"), std::string::npos);
    EXPECT_EQ(problem.demonstration.find("<passage> "), 0u);
    EXPECT_EQ(problem.demonstration.find("<intent>"), std::string::npos);
}

TEST(WiseTask, WithASearchEverySecondRowAsksForKeyphrasesAlone) {
    TaskConfig config;
    config.name = "mini_wise";
    config.wise.candidates = "search";
    config.mini_wise.turns = 8;
    const Task task = make_task(config);
    EXPECT_EQ(task.count(Split::train), 16);
    const Problem full = task.problem(Split::train, 0), before = task.problem(Split::train, 1);
    EXPECT_NE(full.prompt.find("[Passages]"), std::string::npos);
    EXPECT_EQ(before.prompt.find("[Passages]"), std::string::npos);
    EXPECT_EQ(full.demonstration.find(before.demonstration), 0u);
    EXPECT_EQ(before.demonstration.find("<action>"), std::string::npos);
}
