// Answers read from rows, their steps cut by a task, and what a judge says against the rule.

#include "app/judge/in_the_loop.h"

#include <gtest/gtest.h>

using Spans = std::vector<Segment>;
constexpr size_t none = std::string::npos;

TEST(JudgeAnswers, AStepWithoutTextBelongsToTheOneBefore) {
    // two steps of two tokens, of which one adds no byte, and the end of the sequence
    const std::vector<StepVerdict> steps = {
        {0, 2, true, "right"}, {2, 4, false, "wrong result"}, {4, 5, true, "right"}};
    const TextSteps text = text_steps(steps, std::vector<size_t>{0, 3, none, 5, none}, 9);
    EXPECT_EQ(text.segments, (Spans{{0, 5}, {5, 9}}));
    EXPECT_EQ(text.token_segment, (std::vector<int>{0, 0, 1, 1, 1}));
    ASSERT_EQ(text.rule.size(), 2u);
    EXPECT_TRUE(text.rule[0].right);
    EXPECT_FALSE(text.rule[1].right);
    EXPECT_EQ(text_steps({{0, 1, false, ""}, {1, 2, true, ""}}, std::vector<size_t>{none, 0}, 1)
                  .token_segment,
              (std::vector<int>{0, 0}));
    EXPECT_TRUE(text_steps({{0, 1, true, "right"}}, std::vector<size_t>{none}, 0).segments.empty());
}

TEST(JudgeAnswers, TheRuleCountsWhatWasFound) {
    AgainstRule rule;
    auto steps = [](std::vector<bool> right) {
        std::vector<StepVerdict> list;
        for (bool each : right) list.push_back({0, 0, each, ""});
        return list;
    };
    rule.add(steps({true, false, false}), {0, 1, 0.5}); // one found, one overlooked: c/k = 1/2
    rule.add(steps({true, true}), {0.75, 0});           // a false alarm
    rule.add(steps({false}), {1});                      // exactly right
    const Json json = rule.json();
    EXPECT_EQ(json["steps"], 6);
    EXPECT_EQ(json["wrong_steps"], 3);
    EXPECT_EQ(json["called_wrong"], 3);
    EXPECT_NEAR(json["precision"], 2.0 / 3, 1e-12);
    EXPECT_NEAR(json["recall"], 2.0 / 3, 1e-12);
    EXPECT_NEAR(json["f1"], 2.0 / 3, 1e-12);
    EXPECT_NEAR(json["exact_share"], 1.0 / 3, 1e-12);
    EXPECT_TRUE(AgainstRule().json()["precision"].is_null());
}

TEST(JudgeAnswers, SeveralTextsNeedATemperature) {
    JudgeSettings settings;
    EXPECT_EQ(settings.texts(), 4);
    settings.keys.temperature = 0;
    EXPECT_THROW(settings.check(), Error);
    settings.keys.vote = "greedy";
    EXPECT_EQ(settings.texts(), 1);
    settings.check();
    settings.keys.temperature = 1;
    EXPECT_EQ(settings.temperature(), 0); // one critique, greedy
    settings.kind = "trm";
    EXPECT_EQ(settings.temperature(), 0);
    settings.keys.votes = 3;
    EXPECT_EQ(settings.temperature(), 1);
}
