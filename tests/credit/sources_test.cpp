// What the sources of DRM and TRM make of completions, before anything is normalised.

#include "credit/sources.h"

#include <gtest/gtest.h>

namespace {

using Doubles = std::vector<double>;

SourceConfig source(const char* entry) { return read_sources(Json::parse(entry))[0]; }

std::vector<Channel> ask(const SourceConfig& config, const Completions& batch) {
    return config.row().ask(config, batch, {});
}

// Completions of five tokens after one of the prompt.
Completions batch_of(int n) {
    Completions batch;
    for (int i = 0; i < n; ++i) batch.texts.push_back({{9, 1, 2, 3, 4, 5}, 1, 0});
    return batch;
}

const Channel& named(const std::vector<Channel>& channels, const std::string& name) {
    for (const Channel& channel : channels)
        if (channel.name == name) return channel;
    ADD_FAILURE() << "no channel " << name;
    return channels[0];
}

Completions reasoned(std::vector<std::optional<DrmParts>> parts) {
    Completions batch = batch_of((int)parts.size());
    // R is the first three tokens, A the last two
    for (size_t i = 0; i < parts.size(); ++i)
        for (double logp : {-.1, -.3, -.2, -.5, -1.0 - (double)i}) batch.logp.push_back(logp);
    batch.reasoned = [parts](const SourceConfig&) { return parts; };
    return batch;
}

} // namespace

TEST(DrmSource, PartsOfACompletionAndTheirSum) {
    const auto raw =
        ask(source(R"([{"source": "drm"}])"),
            reasoned({DrmParts{3, 3, 1.5, 0, -1, 2}, DrmParts{3, 3, 1.5, NAN, -1, 1}}));
    EXPECT_NEAR(named(raw, "drm_confidence").values[0], -1.7, 1e-12);
    EXPECT_NEAR(named(raw, "drm_confidence").values[1], -2.7, 1e-12);
    EXPECT_NEAR(named(raw, "drm_relevance").values[0], 1.586516, 5e-7);
    EXPECT_NEAR(named(raw, "drm_relevance").values[1], 1.086516, 5e-7) << "without documents";
    EXPECT_EQ(named(raw, "drm_coherence").values, Doubles({2, 1}));
    for (int i : {0, 1}) EXPECT_NEAR(named(raw, "drm").values[i], i ? -3 : 3, 1e-9);
}

TEST(DrmSource, TermsAreThoseThatAreAskedFor) {
    const auto raw = ask(source(R"([{"source": "drm", "relevance": {"terms": ["answer"]}}])"),
                         reasoned({DrmParts{3, 3, 9, 9, 0, 0}}));
    EXPECT_EQ(named(raw, "drm_relevance").values[0], 0.5);
}

TEST(DrmSource, AMalformedCompletionHasNoPartsAndLeavesTheOthersAsTheyWere) {
    const SourceConfig config = source(R"([{"source": "drm", "malformed": -4}])");
    const DrmParts one{3, 3, 1, 0, 0, 0}, two{3, 3, 0, 0, 0, 0};
    const auto with = ask(config, reasoned({one, std::nullopt, two}));
    for (const char* part : {"drm_confidence", "drm_relevance", "drm_coherence"}) {
        EXPECT_TRUE(named(with, part).failed(1));
        EXPECT_FALSE(named(with, part).failed(0));
    }
    EXPECT_FALSE(named(with, "drm").failed(1));
    EXPECT_EQ(named(with, "drm").values[1], -4);
    Completions others = reasoned({one, two});
    others.logp[9] = -3; // as it is in the third place above
    const auto without = ask(config, others);
    EXPECT_EQ(named(with, "drm").values[0], named(without, "drm").values[0]);
    EXPECT_EQ(named(with, "drm").values[2], named(without, "drm").values[1]);
}

TEST(DrmSource, ADimensionOfNoWeightMayBeAnything) {
    const SourceConfig config = source(R"([{"source": "drm", "coherence": {"weight": 0}}])");
    const auto odd =
        ask(config, reasoned({DrmParts{3, 3, 1, 0, 0, NAN}, DrmParts{3, 3, 0, 0, 0, NAN}}));
    const auto even =
        ask(config, reasoned({DrmParts{3, 3, 1, 0, 0, 7}, DrmParts{3, 3, 0, 0, 0, 1}}));
    EXPECT_EQ(named(odd, "drm").values, named(even, "drm").values);
    EXPECT_EQ(odd.size(), 3u) << "their sum and two parts";
}

TEST(TrmLabelsSource, ASegmentPerVerdictAndAFlatRewardForWhatCannotBeRead) {
    Completions batch = batch_of(2);
    batch.verdicts = [](int i) -> std::optional<std::vector<LabelledVerdict>> {
        if (i == 1) return std::nullopt;
        return std::vector<LabelledVerdict>{{2, {true, false}, {true, false}},
                                            {4, {true, true}, {false, true}}};
    };
    Channel channel = ask(source(R"([{"source": "trm_labels"}])"), batch)[0];
    EXPECT_EQ(channel.values, Doubles({1.5, 0.5, -0.5}));
    EXPECT_EQ(channel.segments.end, std::vector<int>({2, 4, 5}));
    EXPECT_EQ(channel.segments.first, std::vector<int64_t>({0, 2, 3}));
    channel = ask(source(R"([{"source": "trm_labels", "unparsable": -2}])"), batch)[0];
    EXPECT_EQ(channel.values.back(), -2);
    channel = ask(source(R"([{"source": "trm_labels", "unparsable": "skip"}])"), batch)[0];
    EXPECT_FALSE(channel.failed(0));
    EXPECT_TRUE(channel.failed(1));
    EXPECT_TRUE(channel.segments.of(1).empty());
}

TEST(TrmSource, JudgesSentencesAndNotTheEnd) {
    Completions batch = batch_of(1);
    batch.sentences = [](int) { return std::vector<StepSpan>{{0, 2, true, 0}, {2, 4, false, 3}}; };
    const Channel channel = ask(source(R"([{"source": "trm", "model": "oracle"}])"), batch)[0];
    EXPECT_EQ(channel.values, Doubles({1, 0}));
    EXPECT_EQ(channel.segments.end, std::vector<int>({2, 4}));
}

TEST(PreferenceSource, IsTheTasksOwnOrAModelsProbability) {
    Completions batch = batch_of(2);
    batch.useful = {0.25, 1};
    const SourceConfig config = source(R"([{"source": "preference", "model": "oracle"}])");
    EXPECT_EQ(ask(config, batch)[0].values, Doubles({0.25, 1}));
    const Said said{{Doubles{0.5}, Doubles{0.75}}, {}};
    EXPECT_EQ(config.row().ask(config, batch, said)[0].values, Doubles({0.5, 0.75}));
}
