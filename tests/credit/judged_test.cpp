// What a judge said of completions, as raw scores of the sources that ask it.

#include "credit/sources.h"

#include <gtest/gtest.h>

static std::vector<Channel> ask(const std::string& credit, const std::vector<Judgement>& judged) {
    Completions batch;
    for (size_t i = 0; i < judged.size(); ++i)
        batch.texts.push_back({{7, 7, 1, 2, 3}, 2, (int)i}), batch.checked.push_back(1);
    return ask_sources(read_sources(parse_json(credit, "credit")), {nullptr}, {judged}, batch);
}

static const std::vector<Judgement> said = {
    {{1, 3}, {0, 1}, true}, {{3}, {0.25}, true}, {{2, 3}, {0, 0}, false}, {{}, {}, false}};

TEST(JudgedSources, CapoChargesEveryTokenOfAWrongStep) {
    const auto raw = ask(R"([{"source": "capo", "model": "x"}])", said);
    ASSERT_EQ(raw.size(), 2u);
    EXPECT_EQ(raw[0].values, (std::vector<double>{0, 1, 1, 0.25, 0.25, 0.25, 0, 0, 0, 0, 0, 0}));
    for (int i = 0; i < 4; ++i) EXPECT_FALSE(raw[0].failed(i)); // the rule alone pays
    EXPECT_EQ(raw[1].name, "rule");
}

TEST(JudgedSources, CapoFailsOnAnswersWithoutAVoteWhereToldSo) {
    const auto raw = ask(R"([{"source": "capo", "model": "x", "unparsable": "skip"}])", said);
    EXPECT_EQ(raw[0].valid, (std::vector<uint8_t>{1, 1, 0, 0}));
}

TEST(JudgedSources, TrmGivesEverySentenceWhatItIsWorth) {
    const auto raw = ask(R"([{"source": "trm", "model": "x"}])", said);
    ASSERT_EQ(raw.size(), 1u);
    EXPECT_EQ(raw[0].values, (std::vector<double>{1, 0, 0.75, 1, 1}));
    EXPECT_EQ(raw[0].segments.first, (std::vector<int64_t>{0, 2, 3, 5, 5}));
    EXPECT_EQ(raw[0].segments.end, (std::vector<int>{1, 3, 3, 2, 3}));
    EXPECT_EQ(raw[0].valid, (std::vector<uint8_t>{1, 1, 0, 0}));
}
