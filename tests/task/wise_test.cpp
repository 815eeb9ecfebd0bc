#include "task/wise.h"

#include "base/file.h"

#include <gtest/gtest.h>

static const WisePassages passages = {{"7-0", "opens at nine"}, {"7-2", "costs six"}};

static const std::string row =
    R"({"conversation_id": 4, "intent": "story", "conversations": [)"
    R"({"msg_id": 1, "turn_id": 1, "role": "user", "intent": ["Reveal"], "response": "museum hours"},)"
    R"({"msg_id": 2, "turn_id": 1, "role": "system", "state": ["museum"], "query_candidate": ["a", "b", "c"],)"
    R"( "selected_query": ["c"], "passage_candidate": ["7-0", "7-2"], "selected_passage": ["7-0"],)"
    R"( "document_candidate": [7], "action": ["Answer", "open-text"], "response": "nine"}]})";

static WiseConversation parse(const std::string& text) {
    return parse_wise(parse_json(text, "row"), passages, "F:2");
}

TEST(Wise, LabelsOfTheVector) {
    EXPECT_EQ(wise_action("Clarify-Choice"), 0);
    EXPECT_EQ(wise_action("Answer-open-text"), 13);
    EXPECT_EQ(wise_intent("Reveal"), 3);
    EXPECT_EQ(wise_action_token(0), 30);
    EXPECT_EQ(wise_action_token(13), 43);
    EXPECT_EQ(wise_intent_token(3), 53);
    EXPECT_EQ(wise_intents().size(), 12u);
    EXPECT_EQ(wise_actions().size(), 23u);
    EXPECT_EQ(wise_action("Unknown"), 18);
    EXPECT_EQ(wise_action("Revise"), 22);
    EXPECT_EQ(wise_intent("Request-Recommendation"), 11);
    EXPECT_EQ(wise_action("Nonsense"), -1);
}

TEST(Wise, AConversationIsReadAndWrittenAgain) {
    WiseConversation conversation = parse(row);
    EXPECT_EQ(conversation.utterances[1].action, 13);
    EXPECT_EQ(conversation.utterances[0].intent, 3);
    EXPECT_EQ(conversation.utterances[1].selected_passages[0], "7-0");
    Json again = wise_json(conversation), wanted = parse_json(row, "row");
    wanted["conversations"][1].erase("document_candidate");
    EXPECT_EQ(nlohmann::json(again), nlohmann::json(wanted)); // whatever the order of the keys
    EXPECT_EQ(wise_json(parse(again.dump())), again);
}

TEST(Wise, FaultsAreNamedWithLineAndField) {
    auto expect = [](const std::string& from, const std::string& to,
                     std::initializer_list<const char*> parts) {
        std::string text = row, message;
        ASSERT_NE(text.find(from), std::string::npos);
        text.replace(text.find(from), from.size(), to);
        try {
            parse(text);
        } catch (const Error& error) {
            message = error.what();
        }
        EXPECT_EQ(message.rfind("F:2", 0), 0u) << message;
        for (const char* part : parts)
            EXPECT_NE(message.find(part), std::string::npos) << part << " in: " << message;
    };
    expect("\"Reveal\"", "\"Reveil\"", {"conversations[0]", "intent", "[Reveil]", "Chitchat"});
    expect("\"open-text\"", "\"text\"", {"conversations[1]", "action", "[Answer-text]"});
    expect("\"7-2\"", "\"7-9\"", {"conversations[1]", "passage_candidate", "7-9"});
    expect("[\"7-0\"]", "[\"-0\"]", {"selected_passage", "-0"});
    expect("\"state\"", "\"stat\"", {"conversations[1]", "state"});
    expect("\"role\": \"user\"", "\"role\": \"bot\"", {"conversations[0]", "role", "bot"});
    expect("\"msg_id\": 2, ", "", {"conversations[1]", "msg_id"});
    expect("\"conversation_id\": 4, ", "", {"conversation_id"});
    expect("\"conversation_id\": 4", "\"conversation_id\": \"four\"", {"conversation_id", "four"});
    expect("\"turn_id\": 1, \"role\": \"user\"", "\"turn_id\": 1.5, \"role\": \"user\"",
           {"conversations[0]", "turn_id"});
    expect("\"b\", ", "\"\", ", {"conversations[1]", "query_candidate", "empty"});
    expect("{\"msg_id\": 1, \"turn_id\": 1, \"role\": \"user\", \"intent\": [\"Reveal\"], "
           "\"response\": \"museum hours\"},",
           "", {"user"});
}

TEST(Wise, ATurnHasTheSelectedCandidatesAmongALimitedNumberInASeededOrder) {
    std::vector<WiseConversation> one = {parse(row)};
    bool moved = false;
    for (uint64_t seed = 0; seed < 20; ++seed) {
        auto turns = wise_turns(one, {.queries = 2, .passages = 10, .seed = seed});
        ASSERT_EQ(turns.size(), 1u);
        EXPECT_EQ(turns[0].intent, 3);
        ASSERT_EQ(turns[0].queries.size(), 2u); // the selected one, then the first of the others
        std::string texts = turns[0].queries[0].text + turns[0].queries[1].text;
        EXPECT_TRUE(texts == "ca" || texts == "ac");
        for (const WiseCandidate& query : turns[0].queries)
            EXPECT_EQ(query.selected, query.text == "c");
        EXPECT_EQ(turns[0].passages.size(), 2u);
        moved = moved || texts == "ac";
        EXPECT_EQ(wise_turns(one, {2, 10, seed})[0].queries[0].text, turns[0].queries[0].text);
    }
    EXPECT_TRUE(moved);
}

TEST(Wise, KeyphraseTagsOfTheVector) {
    const WiseTokens context = {"[I-CLS]", "[A-CLS]", "[User]", "a", "b", "c", "a", "b"};
    EXPECT_EQ(wise_keyphrase_tags(context, {{"a", "b"}}),
              (std::vector<uint8_t>{0, 0, 0, 1, 1, 0, 1, 1}));
    // No occurrence: the most similar window, of ties the last.
    EXPECT_EQ(wise_keyphrase_tags(context, {{"b", "x"}}),
              (std::vector<uint8_t>{0, 0, 0, 0, 0, 0, 1, 1}));
    EXPECT_EQ(wise_keyphrase_tags(context, {{"x"}}), std::vector<uint8_t>(8, 0));
    EXPECT_EQ(wise_keyphrase_tags(context, {{"x", "y"}, {}}), std::vector<uint8_t>(8, 0));
}

TEST(Wise, SimilarityOfTheVector) {
    auto similarity = [](const char* a, const char* b) {
        return wise_similarity(wise_characters(a), wise_characters(b));
    };
    EXPECT_NEAR(similarity("aab", "ab"), .666667, 5e-7);
    EXPECT_EQ(similarity("ab", "ab"), 1);
    EXPECT_EQ(similarity("abcd", "bc"), .5);
}

// W9: newest first; the limit cuts the oldest.
TEST(Wise, ContextIsNewestFirstAndCutFromTheOldest) {
    WiseConversation conversation;
    for (const char* text : {"ab", "cd", "ef", ""}) {
        WiseUtterance& u = conversation.utterances.emplace_back();
        u.response = text, u.system = conversation.utterances.size() % 2 == 0;
    }
    WiseTurn turn;
    turn.conversation = &conversation, turn.utterance = 3;
    auto text = [&](size_t limit, bool newest_first) {
        std::string joined;
        for (const std::string& token : wise_context(turn, limit, newest_first, wise_characters))
            joined += token;
        return joined;
    };
    EXPECT_EQ(text(99, true), "[I-CLS][A-CLS][User]ef[System]cd[User]ab");
    EXPECT_EQ(text(10, true), "[I-CLS][A-CLS][User]ef[System]cd[User]a");
    EXPECT_EQ(text(7, true), "[I-CLS][A-CLS][User]ef[System]c");
    EXPECT_EQ(text(10, false), "[I-CLS][A-CLS][User]a[System]cd[User]ef");
    EXPECT_EQ(text(1, true), "[I-CLS]");
}
