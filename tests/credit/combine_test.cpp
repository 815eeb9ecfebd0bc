// From raw scores to reward and token credit, against numbers worked out by hand.

#include "credit/combine.h"
#include "testing.h"

using Doubles = std::vector<double>;

static std::vector<SourceConfig> sources_of(const char* text) {
    return read_sources(parse_json(text, "test"));
}

static const std::vector<int64_t> offset = {0, 3, 3, 5}; // completions of 3, 0 and 2 tokens
static const std::vector<int> group = {0, 0, 1};
static const Layout layout{offset, group};

static Channel channel_of(const char* name, Level level, const Doubles& values) {
    return {name, level, values, {}, {}};
}

// Segments of each completion: token ends with their numbers; none: the source failed.
using Row = std::vector<std::pair<int, double>>;
static Channel segments_of(const char* name, const std::vector<Row>& rows, int failed = -1) {
    Channel channel{name, Level::segment, {}, {}, {}};
    for (int i = 0; i < (int)rows.size(); ++i) {
        for (auto [end, value] : rows[i]) {
            channel.segments.end.push_back(end);
            channel.values.push_back(value);
        }
        channel.segments.first.push_back((int64_t)channel.values.size());
        channel.valid.push_back(i != failed);
    }
    return channel;
}

static Credit credit_of(const std::vector<Channel>& channels, const char* sources,
                        const SegmentRules& rules = {}) {
    return combine(channels, sources_of(sources), layout, rules);
}

TEST(Credit, DefaultsFollowWhatTheSourceGives) {
    auto sources = sources_of(R"([{"source": "rule"}, {"source": "orm", "model": "m"},
                                  {"source": "qrm", "model": "m"}, {"source": "oracle"}])");
    EXPECT_EQ(sources[0].to, To::reward);
    EXPECT_EQ(sources[0].normalise, Normalise::none);
    EXPECT_EQ(sources[1].pool, Pool::last);
    EXPECT_EQ(sources[1].to, To::reward);
    EXPECT_EQ(sources[2].pool, Pool::none);
    EXPECT_EQ(sources[2].to, To::tokens);
    EXPECT_EQ(sources[2].normalise, Normalise::mean_std);
    EXPECT_EQ(sources[3].to, To::tokens);
}

TEST(Credit, TokenScoresAreNormalisedOverAllTokensOfTheBatch) {
    const Channel channel = channel_of("qrm", Level::token, {1, 2, 3, 0.5, -0.5});
    // mean 1.2; squares 0.04 + 0.64 + 3.24 + 0.49 + 2.89 = 7.3, variance 1.46
    const double std = std::sqrt(1.46);
    Credit credit = credit_of({channel}, R"([{"source": "qrm", "model": "m"}])");
    EXPECT_EQ(credit.reward, Doubles({0, 0, 0}));
    const double centred[] = {-0.2, 0.8, 1.8, -0.7, -1.7};
    for (int n = 0; n < 5; ++n) EXPECT_NEAR(credit.token[n], centred[n] / std, 1e-7);

    credit = credit_of({channel},
                       R"([{"source": "qrm", "model": "m", "normalise": "std", "eos": "mean"}])");
    // divided by the deviation, mean kept; the last token of each completion: its mean
    const double own[] = {1, 2, 2, 0.5, 0};
    for (int n = 0; n < 5; ++n) EXPECT_NEAR(credit.token[n], own[n] / std, 1e-7);
}

TEST(Credit, PooledScoresGoToTheRewardOrToEveryToken) {
    const Channel channel = channel_of("qrm", Level::token, {1, 2, 6, 0.5, -0.5});
    auto with = [&](const char* rest) {
        std::string text = R"([{"source": "qrm", "model": "m", )" + std::string(rest) + "}]";
        return credit_of({channel}, text.c_str());
    };
    EXPECT_EQ(with(R"("pool": "mean")").reward, Doubles({3, 0, 0}));
    EXPECT_EQ(with(R"("pool": "last", "weight": 2)").reward, Doubles({12, 0, -1}));
    EXPECT_EQ(with(R"("pool": "sum", "clip": 4)").reward, Doubles({4, 0, 0}));
    EXPECT_EQ(with(R"("pool": "mean", "to": "tokens", "normalise": "none")").token,
              Doubles({3, 3, 3, 0, 0}));
}

TEST(Credit, SourcesAddUpWithTheirWeights) {
    const Channel rule = channel_of("rule", Level::completion, {1, 0, 0}),
                  qrm = channel_of("qrm", Level::token, {1, 2, 3, 4, 5});
    const Credit credit = credit_of({rule, qrm}, R"([
        {"source": "rule", "weight": 0.5, "to": "tokens"},
        {"source": "qrm", "model": "m", "weight": 2, "normalise": "none"}])");
    // the rule over tokens: 1 1 1 0 0, mean 0.6, deviation sqrt(0.24)
    EXPECT_NEAR(credit.token[0], 0.5 * 0.4 / std::sqrt(0.24) + 2, 1e-7);
    EXPECT_NEAR(credit.token[4], 0.5 * -0.6 / std::sqrt(0.24) + 10, 1e-7);
    EXPECT_EQ(credit.reward, Doubles({0, 0, 0}));
}

TEST(Credit, AFailedJudgeGivesNothingAndSpoilsNoStatistics) {
    Channel channel = channel_of("qrm", Level::token, {1, 2, 3, 100, 200});
    channel.valid = {1, 1, 0};
    Credit credit = credit_of({channel}, R"([{"source": "qrm", "model": "m"}])");
    EXPECT_NEAR(credit.token[0], -1 / std::sqrt(2.0 / 3), 1e-7);
    EXPECT_NEAR(credit.token[1], 0, 1e-12);
    EXPECT_EQ(credit.token[3], 0);
    EXPECT_EQ(credit.token[4], 0);
}

TEST(Credit, EqualScoresBecomeZeroAndNotNaN) {
    Channel channel = channel_of("qrm", Level::token, {7, 7, 7, 7, 7});
    Credit credit = credit_of({channel}, R"([{"source": "qrm", "model": "m"}])");
    EXPECT_EQ(credit.token, Doubles(5, 0.0));
    channel.values[2] = NAN;
    EXPECT_THROW(credit_of({channel}, R"([{"source": "qrm", "model": "m"}])"), Error);
}

TEST(Credit, SegmentsAddUpAndNumbersTakeTheSegmentsOfTheFirstChannel) {
    const Channel trm = segments_of("trm", {{{1, 1}, {3, 0}}, {}, {{1, 1}}});
    const Channel preference = channel_of("preference", Level::completion, {0.75, 0.5, 0.25});
    const Credit credit = credit_of({trm, preference}, R"([{"source": "trm"},
        {"source": "preference", "to": "segments", "weight": 2}])");
    // the answer without sentences is one segment worth -1
    EXPECT_EQ(credit.segment, Doubles({2.5, 1.5, 0, 1.5}));
    EXPECT_EQ(credit.segments.first, std::vector<int64_t>({0, 2, 3, 4}));
    EXPECT_EQ(credit.segments.end, std::vector<int>({1, 3, 0, 1}));
    EXPECT_EQ(credit.reward, Doubles({0, 0, 0}));
    EXPECT_TRUE(credit.token.empty() && credit.valid.empty());
}

TEST(Credit, SegmentsStandOnTheirTokensAndTheRestFollowsTheRule) {
    const Channel trm = segments_of("trm", {{{1, 1}, {2, 4}}, {}, {{1, 3}}});
    const char* list = R"([{"source": "trm", "to": "tokens"}])";
    EXPECT_EQ(credit_of({trm}, list).token, Doubles({1, 4, 2.5, 3, 3}));
    EXPECT_EQ(credit_of({trm}, list, {-1, AfterLast::last}).token, Doubles({1, 4, 4, 3, 3}));
    EXPECT_EQ(credit_of({trm}, list, {-1, AfterLast::zero}).token, Doubles({1, 4, 0, 3, 0}));
    EXPECT_EQ(credit_of({trm}, R"([{"source": "trm", "pool": "mean"}])").reward,
              Doubles({2.5, -1, 3}));
}

TEST(Credit, ACompletionWithoutTokensAndSegmentsIsWorthTheFormatPenalty) {
    const Channel trm = segments_of("trm", {{{3, 1}}, {}, {{2, 1}}});
    const Credit credit = credit_of({trm}, R"([{"source": "trm", "weight": 2}])", {-0.5});
    EXPECT_EQ(credit.segment, Doubles({2, -1, 2}));
}

TEST(Credit, AFailureOfOneSourceIsNotedAndTheOthersAreWhatTheyWere) {
    const Channel trm = segments_of("trm", {{{3, 1}}, {}, {{2, 1}}}, 2);
    const Channel rule = channel_of("rule", Level::completion, {1, 0, 1});
    const Credit credit = credit_of({trm, rule}, R"([{"source": "trm"}, {"source": "rule"}])");
    EXPECT_EQ(credit.valid, std::vector<uint8_t>({1, 1, 0}));
    EXPECT_EQ(credit.segments.first, std::vector<int64_t>({0, 1, 2, 2}));
    EXPECT_EQ(credit.reward, Doubles({1, 0, 1}));
    EXPECT_EQ(credit.parts[1].valid, std::vector<uint8_t>({1, 1, 1}));
}

TEST(Credit, OtherSegmentsCannotBeAddedUp) {
    const Channel a = segments_of("a", {{{1, 1}, {3, 0}}, {}, {{1, 1}}}),
                  b = segments_of("b", {{{2, 1}, {3, 0}}, {}, {{1, 1}}});
    const auto sources =
        sources_of(R"([{"source": "trm", "name": "a"}, {"source": "trm", "name": "b"}])");
    EXPECT_THROW(combine({a, b}, sources, layout), Error);
    EXPECT_EQ(combine({a, b}, sources, layout, {}, false).parts.size(), 2u);
    // where one of them failed there is nothing to add
    const Channel failed = segments_of("b", {{}, {}, {{1, 1}}}, 0);
    EXPECT_EQ(combine({a, failed}, sources, layout).segment, Doubles({-2, 2}));
}

TEST(Credit, GroupStatisticsAreExactAndHaveAFloor) {
    const Channel rule = channel_of("rule", Level::completion, {1, 3, 5});
    EXPECT_EQ(credit_of({rule}, R"([{"source": "rule", "normalise": "group"}])").reward,
              Doubles({-1, 1, 0})); // the third is alone
    const Channel noise = channel_of("rule", Level::completion, {1, 1.5, 5});
    EXPECT_EQ(credit_of({noise}, R"([{"source": "rule", "normalise": "group", "std_floor": 0.3}])")
                  .reward,
              Doubles({0, 0, 0}));
    EXPECT_EQ(credit_of({noise}, R"([{"source": "rule", "normalise": "group", "std_floor": 0.25}])")
                  .reward,
              Doubles({-1, 1, 0}));
}

TEST(Credit, WhatHasNoWeightIsNotRead) {
    const Channel rule = channel_of("rule", Level::completion, {1, 0, 0});
    Channel broken = channel_of("drm", Level::completion, {NAN, NAN, NAN});
    broken.valid = {0, 0, 0};
    const Credit credit =
        credit_of({rule, broken}, R"([{"source": "rule"}, {"source": "drm", "weight": 0}])");
    EXPECT_EQ(credit.reward, Doubles({1, 0, 0}));
    EXPECT_TRUE(credit.valid.empty());
    EXPECT_EQ(credit.parts.size(), 1u);
}

TEST(Credit, BadListsAreRefused) {
    for (const char* text :
         {"[]", "{}", R"([{"source": "quality"}])", R"([{"source": "trm", "w_whole": 1}])",
          R"([{"source": "rule", "model": "m"}])", R"([{"source": "rule", "wieght": 1}])",
          R"([{"source": "qrm", "model": "m", "to": "reward"}])",
          R"([{"source": "orm", "model": "m", "reference": "r"}])",
          R"([{"source": "rule", "eos": "mean"}])", R"([{"source": "rule", "pool": "mean"}])",
          R"([{"source": "rule"}, {"source": "rule"}])",
          R"([{"source": "rule", "to": "segments"}])",
          R"([{"source": "rule", "to": "segments"}, {"source": "trm", "weight": 0}])",
          R"([{"source": "capo", "to": "segments"}])", R"([{"source": "trm", "to": "reward"}])",
          R"([{"source": "rule", "std_floor": 0.1}])", R"([{"source": "rule", "alpha": 1}])",
          R"([{"source": "drm"}, {"source": "rule", "name": "drm_coherence"}])",
          R"([{"source": "capo"}, {"source": "orm", "name": "rule"}])",
          // keys without effect
          R"([{"source": "capo", "model": "oracle", "vote": "union"}])",
          R"([{"source": "capo", "model": "oracle", "errors": [0, 0, 0, 1]}])",
          R"([{"source": "capo", "model": "m", "precision": 0.5}])",
          R"([{"source": "capo", "model": "m", "votes": 3}])",
          R"([{"source": "capo", "model": "m", "vote": "union", "tie": "wrong"}])",
          R"([{"source": "trm", "model": "m", "critiques": 3}])",
          R"([{"source": "trm", "model": "oracle", "errors": [0, 0, 0, 1], "recall": 0.5}])",
          R"([{"source": "trm", "model": "m", "read_out": "probability"}])",
          R"([{"source": "trm", "model": "m", "unparsable": -1}])",
          R"([{"source": "preference", "model": "m", "judge": "n"}])"})
        EXPECT_THROW(sources_of(text), Error) << text;
}
