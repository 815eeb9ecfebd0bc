// Raw scores in rows: what is written reads back, what does not fit is refused with its row and
// name.

#include "credit/combine.h"
#include "credit/scores.h"

#include <gtest/gtest.h>

using Doubles = std::vector<double>;

static const std::vector<int64_t> offset = {0, 2, 5};
static const std::vector<int> group = {0, 0};
static const std::vector<std::string> where = {"f:1", "f:2"};
static const Layout layout{offset, group, where};

static std::vector<SourceConfig> sources_of(const std::string& text) {
    return read_sources(parse_json(text, "test"));
}

// Two rows' "scores".
static std::vector<Json> rows_of(const char* a, const char* b) {
    return {{{"scores", parse_json(a, "a")}}, {{"scores", parse_json(b, "b")}}};
}

static std::string refusal(const std::string& list, const std::vector<Json>& rows) {
    try {
        const auto sources = sources_of(list);
        channels_of(sources, read_scores(sources, rows, layout), layout);
    } catch (const Error& error) {
        return error.what();
    }
    return "none";
}

TEST(Scores, WhatIsWrittenReadsBack) {
    const auto sources = sources_of(
        R"([{"source": "rule"}, {"source": "trm"}, {"source": "qrm", "name": "z"}, {"source": "orm"}])");
    const std::vector<Json> rows = rows_of(
        R"({"rule": 1, "trm": {"end": [1, 2], "value": [0.5, 1]}, "z": [0.1, -3], "orm": 7})",
        R"({"rule": null, "trm": {"end": [], "value": []}, "z": null, "orm": 0.25})");
    const std::vector<Channel> raw = read_scores(sources, rows, layout);
    ASSERT_EQ(raw.size(), 4u);
    EXPECT_EQ(raw[0].valid, std::vector<uint8_t>({1, 0}));
    EXPECT_EQ(raw[1].segments.first, std::vector<int64_t>({0, 2, 2}));
    EXPECT_EQ(raw[1].values, Doubles({0.5, 1}));
    EXPECT_EQ(raw[2].values, Doubles({0.1, -3, 0, 0, 0}));
    EXPECT_EQ(raw[3].level, Level::completion) << "an outcome's score is one number";
    for (int i = 0; i < 2; ++i)
        for (const Channel& channel : raw)
            EXPECT_EQ(score_json(channel, layout, i), rows[i]["scores"][channel.name]);
}

TEST(Scores, CapoChargesTheTokensOfWrongSteps) {
    const std::vector<Json> rows =
        rows_of(R"({"capo": [0, 1], "rule": 1})", R"({"capo": [0, 1, 0.25], "rule": 0})");
    const auto sources = sources_of(R"([{"source": "capo"}])");
    const auto channels = channels_of(sources, read_scores(sources, rows, layout), layout);
    EXPECT_EQ(channels[0].values, Doubles({2, 1, 0, -1, -0.25}));
    EXPECT_EQ(combine(channels, sources, layout).token, channels[0].values) << "as they are";
    const auto heavy = sources_of(R"([{"source": "capo", "w_process": 5}])");
    EXPECT_EQ(channels_of(heavy, read_scores(heavy, rows, layout), layout)[0].values,
              Doubles({2, -3, 0, -5, -1.25}));
}

TEST(Scores, DrmTellsAMalformedCompletionFromAFailedJudge) {
    const std::string list = R"([{"source": "drm", "malformed": -2}])";
    const char* whole =
        R"({"drm": 0, "drm_confidence": 1, "drm_relevance": 1, "drm_coherence": 1})";
    auto drm = [&](const char* second) {
        const auto sources = sources_of(list);
        return channels_of(sources, read_scores(sources, rows_of(whole, second), layout),
                           layout)[0];
    };
    Channel channel =
        drm(R"({"drm": -3, "drm_confidence": null, "drm_relevance": null, "drm_coherence": null})");
    EXPECT_EQ(channel.values, Doubles({0, -2}));
    EXPECT_EQ(channel.valid, std::vector<uint8_t>({1, 1}));
    channel = drm(
        R"({"drm": null, "drm_confidence": null, "drm_relevance": null, "drm_coherence": null})");
    EXPECT_EQ(channel.valid, std::vector<uint8_t>({1, 0}));
    const std::string some = refusal(
        list,
        rows_of(whole,
                R"({"drm": 1, "drm_confidence": 2, "drm_relevance": null, "drm_coherence": 1})"));
    EXPECT_NE(some.find("f:2"), std::string::npos) << some;
    EXPECT_NE(some.find("lacks others"), std::string::npos) << some;
    const char* bare = R"({"drm_confidence": 1, "drm_relevance": 1, "drm_coherence": 1})";
    EXPECT_EQ(refusal(list, rows_of(bare, bare)), "none") << "the sum is for the reader";
    const char* empty = R"({"drm_confidence": null, "drm_relevance": null, "drm_coherence": null})";
    EXPECT_NE(refusal(list, rows_of(bare, empty)).find("malformed"), std::string::npos);
}

TEST(Scores, ADimensionOfNoWeightIsNotRead) {
    const auto sources = sources_of(
        R"([{"source": "drm", "relevance": {"weight": 0}, "coherence": {"weight": 0}}])");
    const auto raw = read_scores(
        sources,
        rows_of(R"({"drm_confidence": 1, "drm_relevance": "?"})", R"({"drm_confidence": 3})"),
        layout);
    EXPECT_EQ(channels_of(sources, raw, layout)[0].values, Doubles({-1, 1}));
}

TEST(Scores, WhatDoesNotFitIsRefused) {
    struct Case {
        const char *list, *second, *part;
    };
    const char* first =
        R"({"rule": 1, "capo": [0, 0], "trm": {"end": [2], "value": [1]}, "qrm": [1, 2]})";
    for (const Case& c : {
             Case{R"([{"source": "rule"}])", R"({"capo": [0, 0, 0]})", "no scores.rule"},
             {R"([{"source": "capo"}])", R"({"capo": [0, 0, 0]})", "no scores.rule"},
             {R"([{"source": "rule", "name": "answer"}])", R"({"answer": 1})", "no scores.answer"},
             {R"([{"source": "rule"}])", R"({"rule": [1]})", "finite number"},
             {R"([{"source": "rule"}])", R"({"rule": "1"})", "finite number"},
             {R"([{"source": "rule"}])", R"({"rule": true})", "finite number"},
             {R"([{"source": "qrm"}])", R"({"qrm": 1})", "list with one number"},
             {R"([{"source": "qrm"}])", R"({"qrm": [1, 2]})", "3 tokens"},
             {R"([{"source": "capo"}])", R"({"rule": 1, "capo": [0, 0, 1.5]})", "between 0 and 1"},
             {R"([{"source": "trm"}])", R"({"trm": [1, 2, 3]})", "\"end\""},
             {R"([{"source": "trm"}])", R"({"trm": {"end": [1, 1], "value": [0, 0]}})", "above"},
             {R"([{"source": "trm"}])", R"({"trm": {"end": [0], "value": [0]}})", "above"},
             {R"([{"source": "trm"}])", R"({"trm": {"end": [4], "value": [0]}})", "at most"},
             {R"([{"source": "trm"}])", R"({"trm": {"end": [1], "value": [0, 1]}})", "same length"},
             {R"([{"source": "trm"}])", R"({"trm": {"end": [1]}})", "same length"},
         }) {
        const std::string text = refusal(c.list, rows_of(first, c.second));
        EXPECT_NE(text.find(c.part), std::string::npos) << c.second << ": " << text;
        EXPECT_NE(text.find("f:"), std::string::npos) << c.second << ": " << text;
    }
    const std::vector<Json> none = {Json::object(), Json::object()};
    EXPECT_NE(refusal(R"([{"source": "rule"}])", none).find("no scores"), std::string::npos);
}
