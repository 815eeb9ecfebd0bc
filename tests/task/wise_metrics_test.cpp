#include "task/wise_metrics.h"

#include "base/check.h"

#include <gtest/gtest.h>

static WisePrediction turn(const std::string& gold, const std::string& predicted) {
    return parse_wise_prediction(
        {{"gold", parse_json(gold, "gold")}, {"predicted", parse_json(predicted, "predicted")}},
        "F:3");
}

static std::vector<WisePrediction> labels(const char* key, const std::vector<std::string>& gold,
                                          const std::vector<std::string>& predicted) {
    std::vector<WisePrediction> turns;
    for (size_t i = 0; i < gold.size(); ++i)
        turns.push_back(turn(Json{{key, gold[i]}}.dump(), Json{{key, predicted[i]}}.dump()));
    return turns;
}

static void expect_scores(const Json& found, double precision, double recall, double f1) {
    EXPECT_NEAR(found["precision"], precision, 5e-7) << found;
    EXPECT_NEAR(found["recall"], recall, 5e-7) << found;
    EXPECT_NEAR(found["f1"], f1, 5e-7) << found;
}

// W6: gold A A B C, predicted A B B B.
TEST(WiseMetrics, ClassesOfTheVector) {
    const std::string A = "Reveal", B = "Revise", C = "Chitchat";
    auto intents = labels("intent", {A, A, B, C}, {A, B, B, B});
    expect_scores(wise_metrics(intents, false)["id"], .666667, .5, .388889);
    expect_scores(wise_metrics(intents, true)["id"], .666667, .5, .388889);
    const std::string a = "Clarify-Choice", b = "Answer-fact-text", c = "Chitchat";
    auto actions = labels("action", {a, a, b, c}, {a, b, b, b});
    expect_scores(wise_metrics(actions, false)["ap"], .666667, .5, .388889);
    expect_scores(wise_metrics(actions, true)["ap"], .444444, .375, .291667);
    EXPECT_EQ(wise_metrics(actions, false)["id"]["f1"], nullptr); // no turn has an intent
    EXPECT_EQ(wise_metrics(actions, false)["turns"], 4);
}

TEST(WiseMetrics, ALabelOutsideTheTablesIsWrongAndNoClass) {
    auto turns = labels("intent", {"Reveal", "Reveal"}, {"Reveal", "Nonsense"});
    expect_scores(wise_metrics(turns, false)["id"], 1, .5, 2 / 3.);
}

TEST(WiseMetrics, SelectionsAreSetsPerGoldAction) {
    const std::string gold = R"({"action": "Answer-fact-text", "passages": ["1-0", "1-1"]})";
    std::vector<WisePrediction> turns = {
        turn(gold, R"({"passages": ["1-1", "2-0", "1-1"]})"), // P 1/2, R 1/2, F1 1/2
        turn(gold, R"({"passages": []})"),                    // R 0, F1 0, no precision
        turn(R"({"action": "Clarify-Open", "passages": ["3-0"]})", R"({"passages": ["3-0"]})"),
        turn(R"({"action": "Answer-fact-text", "passages": null})", R"({"passages": ["9-9"]})"),
        turn(R"({"action": "Chitchat", "passages": ["9-9"]})", R"({"passages": ["9-9"]})")};
    expect_scores(wise_metrics(turns, false)["ps"], (.5 + 1) / 2, (.25 + 1) / 2, (.25 + 1) / 2);
    expect_scores(wise_metrics(turns, true)["ps"], 1.5 / 3, 1.25 / 3, 1.25 / 3);
    EXPECT_EQ(wise_metrics(turns, false)["qs"]["recall"], nullptr);
}

TEST(WiseMetrics, KeyphrasesAndResponsesOverlapWithGold) {
    const std::string gold =
        R"({"action": "Answer-Link", "keyphrases": ["abcd"], "response": "ab CD"})";
    std::vector<WisePrediction> turns = {
        turn(gold, R"({"keyphrases": ["acx", "abcd"], "response": "acx"})"),
        turn(gold, R"({"keyphrases": [], "response": "abcd"})")};
    Json plain = wise_metrics(turns, false), released = wise_metrics(turns, true);
    // The turn without a phrase counts 0, or not at all; released halves by its one class + 1.
    EXPECT_NEAR(plain["ke"]["bleu1"], (.477688 + 1) / 2 / 2, 5e-7);
    EXPECT_NEAR(plain["ke"]["rouge_l"], (.557078 + 1) / 2 / 2, 5e-7);
    EXPECT_NEAR(released["ke"]["bleu1"], (.537398 + 1) / 2 / 2, 5e-7);
    EXPECT_NEAR(released["ke"]["rouge_l"], (.557078 + 1) / 2 / 2, 5e-7);
    EXPECT_NEAR(plain["rg"]["bleu1"], (.477688 + 1) / 2, 5e-7);
    EXPECT_NEAR(released["rg"]["bleu1"], (.537398 + 1) / 4, 5e-7);
    EXPECT_NEAR(plain["rg"]["rouge_l"], (.557078 + 1) / 2, 5e-7);
}

TEST(WiseMetrics, FaultsAreNamed) {
    auto refusal = [](const std::string& row) -> std::string {
        try {
            parse_wise_prediction(parse_json(row, "row"), "F:3");
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_EQ(refusal(R"({"gold": {"intent": null}, "predicted": {"intent": "x"}})"), "");
    for (const char* row :
         {R"({"gold": {"intent": "Nonsense"}, "predicted": {}})",
          R"({"gold": {"action": "[Chitchat]"}, "predicted": {}})", R"({"gold": {}})",
          R"({"predicted": {}})", R"({"gold": {"queries": "x"}, "predicted": {}})"})
        EXPECT_NE(refusal(row).find("F:3"), std::string::npos) << row << ": " << refusal(row);
}
