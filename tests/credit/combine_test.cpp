// From raw scores to reward and token credit, against numbers worked out by hand.

#include "credit/combine.h"
#include "testing.h"

using Doubles = std::vector<double>;

static std::vector<SourceConfig> sources_of(const char* text) {
    return read_sources(parse_json(text, "test"));
}

static const std::vector<int64_t> offset = {0, 3, 3, 5}; // completions of 3, 0 and 2 tokens

TEST(Credit, DefaultsFollowWhatTheSourceGives) {
    auto sources = sources_of(R"([{"source": "rule"}, {"source": "orm", "model": "m"},
                                  {"source": "qrm", "model": "m"}, {"source": "oracle"}])");
    EXPECT_EQ(sources[0].to, "reward");
    EXPECT_EQ(sources[0].normalise, "none");
    EXPECT_EQ(sources[1].pool, "last");
    EXPECT_EQ(sources[1].to, "reward");
    EXPECT_EQ(sources[2].pool, "none");
    EXPECT_EQ(sources[2].to, "tokens");
    EXPECT_EQ(sources[2].normalise, "mean_std");
    EXPECT_EQ(sources[3].to, "tokens");
}

TEST(Credit, TokenScoresAreNormalisedOverAllTokensOfTheBatch) {
    Channel channel{"qrm", Level::token, {1, 2, 3, 0.5, -0.5}, {}};
    // mean 1.2; squares 0.04 + 0.64 + 3.24 + 0.49 + 2.89 = 7.3, variance 1.46
    const double std = std::sqrt(1.46);
    Credit credit = combine({channel}, sources_of(R"([{"source": "qrm", "model": "m"}])"), offset);
    EXPECT_EQ(credit.reward, Doubles({0, 0, 0}));
    const double centred[] = {-0.2, 0.8, 1.8, -0.7, -1.7};
    for (int n = 0; n < 5; ++n) EXPECT_NEAR(credit.token[n], centred[n] / std, 1e-7);

    credit = combine(
        {channel},
        sources_of(R"([{"source": "qrm", "model": "m", "normalise": "std", "eos": "mean"}])"),
        offset);
    // divided by the deviation, mean kept; the last token of each completion: its mean
    const double own[] = {1, 2, 2, 0.5, 0};
    for (int n = 0; n < 5; ++n) EXPECT_NEAR(credit.token[n], own[n] / std, 1e-7);
}

TEST(Credit, PooledScoresGoToTheRewardOrToEveryToken) {
    Channel channel{"qrm", Level::token, {1, 2, 6, 0.5, -0.5}, {}};
    auto with = [&](const char* rest) {
        std::string text = R"([{"source": "qrm", "model": "m", )" + std::string(rest) + "}]";
        return combine({channel}, sources_of(text.c_str()), offset);
    };
    EXPECT_EQ(with(R"("pool": "mean")").reward, Doubles({3, 0, 0}));
    EXPECT_EQ(with(R"("pool": "last", "weight": 2)").reward, Doubles({12, 0, -1}));
    EXPECT_EQ(with(R"("pool": "sum", "clip": 4)").reward, Doubles({4, 0, 0}));
    EXPECT_EQ(with(R"("pool": "mean", "to": "tokens", "normalise": "none")").token,
              Doubles({3, 3, 3, 0, 0}));
}

TEST(Credit, SourcesAddUpWithTheirWeights) {
    Channel rule{"rule", Level::completion, {1, 0, 0}, {}},
        qrm{"qrm", Level::token, {1, 2, 3, 4, 5}, {}};
    Credit credit = combine({rule, qrm}, sources_of(R"([
        {"source": "rule", "weight": 0.5, "to": "tokens"},
        {"source": "qrm", "model": "m", "weight": 2, "normalise": "none"}])"),
                            offset);
    // the rule over tokens: 1 1 1 0 0, mean 0.6, deviation sqrt(0.24)
    EXPECT_NEAR(credit.token[0], 0.5 * 0.4 / std::sqrt(0.24) + 2, 1e-7);
    EXPECT_NEAR(credit.token[4], 0.5 * -0.6 / std::sqrt(0.24) + 10, 1e-7);
    EXPECT_EQ(credit.reward, Doubles({0, 0, 0}));
}

TEST(Credit, AFailedJudgeGivesNothingAndSpoilsNoStatistics) {
    Channel channel{"qrm", Level::token, {1, 2, 3, 100, 200}, {1, 1, 0}};
    Credit credit = combine({channel}, sources_of(R"([{"source": "qrm", "model": "m"}])"), offset);
    EXPECT_NEAR(credit.token[0], -1 / std::sqrt(2.0 / 3), 1e-7);
    EXPECT_NEAR(credit.token[1], 0, 1e-12);
    EXPECT_EQ(credit.token[3], 0);
    EXPECT_EQ(credit.token[4], 0);
}

TEST(Credit, EqualScoresBecomeZeroAndNotNaN) {
    Channel channel{"qrm", Level::token, {7, 7, 7, 7, 7}, {}};
    Credit credit = combine({channel}, sources_of(R"([{"source": "qrm", "model": "m"}])"), offset);
    EXPECT_EQ(credit.token, Doubles(5, 0.0));
    channel.values[2] = NAN;
    EXPECT_THROW(combine({channel}, sources_of(R"([{"source": "qrm", "model": "m"}])"), offset),
                 Error);
}

TEST(Credit, BadListsAreRefused) {
    for (const char* text :
         {"[]", "{}", R"([{"source": "quality"}])", R"([{"source": "qrm"}])",
          R"([{"source": "rule", "model": "m"}])", R"([{"source": "rule", "wieght": 1}])",
          R"([{"source": "qrm", "model": "m", "to": "reward"}])",
          R"([{"source": "orm", "model": "m", "reference": "r"}])",
          R"([{"source": "rule", "eos": "mean"}])", R"([{"source": "rule", "pool": "mean"}])"})
        EXPECT_THROW(sources_of(text), Error) << text;
}
