#include "task/mini_wise.h"

#include "base/file.h"
#include "task/wise_text.h"
#include "testing.h"

#include <gtest/gtest.h>
#include <set>

static std::string all_text(const MiniWiseWorld& world) {
    return wise_json(world.conversation).dump() + wise_json(world.documents[0]).dump();
}

// P8: generator -> JSON -> loader -> the same samples.
TEST(MiniWise, TheLoaderReadsWhatTheGeneratorSays) {
    MiniWiseConfig config;
    for (int part = 0; part < (int)std::size(mini_wise_parts); ++part)
        for (int64_t c = 0; c < 20; ++c) {
            const MiniWiseWorld world = mini_wise(config, (MiniWisePart)part, c);
            WisePassages passages = wise_passages(world.documents);
            const Json row = wise_json(world.conversation);
            const WiseConversation read =
                parse_wise(parse_json(row.dump(), "row"), passages, "row");
            EXPECT_EQ(wise_json(read), row);
            EXPECT_EQ(read.labelled, world.conversation.labelled);
            std::vector<WiseConversation> one = {world.conversation}, other = {read};
            const auto a = wise_turns(one, {}), b = wise_turns(other, {});
            ASSERT_EQ(a.size(), (size_t)mini_wise_turns);
            ASSERT_EQ(b.size(), a.size());
            const WiseStages all{true, true, true, true, true, true};
            for (size_t i = 0; i < a.size(); ++i)
                EXPECT_EQ(wise_prompt(a[i], passages, all, true, {}) +
                              wise_completion(a[i], wise_gold(a[i]), all),
                          wise_prompt(b[i], passages, all, true, {}) +
                              wise_completion(b[i], wise_gold(b[i]), all));
        }
}

TEST(MiniWise, UnseenTopicsOccurInNoOtherPart) {
    MiniWiseConfig config;
    auto topics_of = [&](MiniWisePart part) {
        std::set<std::string> topics;
        for (int64_t c = 0; c < 800; ++c) {
            const std::string name = mini_wise(config, part, c).documents[0].title;
            topics.insert(name.substr(name.find(' ') + 1));
        }
        return topics;
    };
    const auto unseen = topics_of(MiniWisePart::testunseen);
    EXPECT_EQ(unseen.size(), 20u);
    std::set<std::string> words;
    for (int part = 0; part < (int)std::size(mini_wise_parts); ++part) {
        if ((MiniWisePart)part == MiniWisePart::testunseen) continue;
        const auto seen = topics_of((MiniWisePart)part);
        EXPECT_EQ(seen.size(), 40u);
        for (const std::string& topic : seen) {
            EXPECT_FALSE(unseen.count(topic)) << topic << " in " << mini_wise_parts[part];
            words.insert(topic.substr(0, topic.find(' ')));
            words.insert(topic.substr(topic.find(' ') + 1));
        }
    }
    EXPECT_EQ(words.size(), 16u); // every word of a topic is known
    config.pretrain_topics = "all";
    EXPECT_EQ(topics_of(MiniWisePart::qa).size(), 60u);
    EXPECT_EQ(topics_of(MiniWisePart::train).size(), 40u);
}

// Memorising is of no use: the value stands in the selected passage, and another conversation about the
// same place has another one.
TEST(MiniWise, ValuesAreNewInEveryConversationAndStandInPassagesAlone) {
    MiniWiseConfig config;
    int answers = 0, absent = 0;
    for (int64_t c = 0; c < 200; ++c) {
        const MiniWiseWorld world = mini_wise(config, MiniWisePart::train, c);
        const WisePassages passages = wise_passages(world.documents);
        for (const WiseTurn& turn : wise_turns({world.conversation}, {})) {
            const WiseUtterance& u = world.conversation.utterances[turn.utterance];
            const std::string action = wise_actions()[u.action];
            EXPECT_EQ(u.passage_candidates.size(), 4u);
            EXPECT_EQ(
                std::set<std::string>(u.passage_candidates.begin(), u.passage_candidates.end())
                    .size(),
                4u);
            absent += action == "Answer-NoAnswer";
            if (action != "Answer-fact-text") continue;
            ++answers;
            int holding = 0;
            for (const std::string& id : u.passage_candidates)
                holding += wise_contained(u.contains, passages.at(id)) == 1;
            EXPECT_EQ(holding, 1);
            EXPECT_EQ(wise_contained(u.contains, passages.at(u.selected_passages[0])), 1);
            for (int before = 0; before < turn.utterance; ++before)
                EXPECT_EQ(
                    wise_contained(u.contains, world.conversation.utterances[before].response), 0);
        }
    }
    EXPECT_GT(answers, 300);
    EXPECT_GT(absent, 30);
    // 4000 conversations later the same place is visited again.
    const auto first = mini_wise(config, MiniWisePart::train, 0).documents[0];
    const auto again = mini_wise(config, MiniWisePart::train, 4000).documents[0];
    EXPECT_EQ(first.title, again.title);
    EXPECT_NE(first.passages[0].text, again.passages[0].text);
}

// Half of the other places are in the same town, each with another topic; no place is visited twice within as
// many conversations as there are places, in all parts together.
TEST(MiniWise, PlacesAreDifferentAndNeighboursAreHardToTellApart) {
    MiniWiseConfig config;
    config.seed = 3;
    auto name = [&](MiniWisePart part, int64_t c) {
        return mini_wise(config, part, c).documents[0].title;
    };
    for (MiniWisePart part : {MiniWisePart::train, MiniWisePart::testunseen}) {
        const int places = part == MiniWisePart::train ? 4000 : 2000;
        std::set<std::string> names;
        int same_town = 0, same_topic = 0, same_word = 0;
        for (int64_t c = 0; c < places; ++c) {
            const std::string own = name(part, c), other = name(part, c ^ 1);
            names.insert(own);
            const size_t town = own.find(' '), other_town = other.find(' ');
            same_town += own.substr(0, town) == other.substr(0, other_town);
            same_topic += own.substr(town) == other.substr(other_town);
            same_word += own.substr(own.rfind(' ')) == other.substr(other.rfind(' '));
        }
        EXPECT_EQ(names.size(), (size_t)places);
        EXPECT_EQ(same_topic, 0);
        EXPECT_NEAR(same_town, places / 2.0, places / 50.0);
        EXPECT_GT(same_word, places / 20);
    }
    std::set<std::string> names;
    const struct {
        MiniWisePart part;
        int64_t count;
    } parts[] = {{MiniWisePart::train, 1600},   {MiniWisePart::valid, 200},
                 {MiniWisePart::testseen, 400}, {MiniWisePart::qa, 400},
                 {MiniWisePart::chat, 400},     {MiniWisePart::triples, 400},
                 {MiniWisePart::reading, 400}};
    for (const auto& one : parts)
        for (int64_t c = 0; c < one.count; ++c)
            EXPECT_TRUE(names.insert(name(one.part, c)).second)
                << mini_wise_parts[(int)one.part] << " " << c;
}

TEST(MiniWise, AConversationDependsOnSeedPartAndNumberAlone) {
    MiniWiseConfig config, other;
    other.seed = 1;
    EXPECT_EQ(all_text(mini_wise(config, MiniWisePart::train, 5)),
              all_text(mini_wise(config, MiniWisePart::train, 5)));
    EXPECT_NE(all_text(mini_wise(config, MiniWisePart::train, 5)),
              all_text(mini_wise(other, MiniWisePart::train, 5)));
    EXPECT_NE(all_text(mini_wise(config, MiniWisePart::train, 5)),
              all_text(mini_wise(config, MiniWisePart::valid, 5)));
}
