// DRM: the three dimensions and their sum, against numbers worked out by hand, and the properties
// that keep one completion's trouble from the others.

#include "credit/drm.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

using Doubles = std::vector<double>;

static const int one_prompt[] = {0, 0, 0, 0};
static const int64_t offset[] = {0, 1, 2, 3, 4};
static const Layout layout{offset, one_prompt};
static const Doubles confidence = {-1.7, -0.9, -2.5, -0.9}, relevance = {2.1, 1.2, 2.1, 0.6},
                     coherence = {3, -1, 1, -3};

static Doubles scores(const std::vector<DrmDimension>& dimensions,
                      std::vector<WellFormed> form = std::vector<WellFormed>(4, WellFormed::yes)) {
    return drm_scores(dimensions, form, layout, Normalise::group, 1e-6, -3);
}

static Doubles all_three() {
    return scores({{1.0 / 3, confidence}, {1.0 / 3, relevance}, {1.0 / 3, coherence}});
}

static void expect_near(const Doubles& got, const Doubles& want) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t k = 0; k < got.size(); ++k) EXPECT_NEAR(got[k], want[k], 5e-7) << k;
}

TEST(Drm, ConfidenceIsTheMeanOverReasoningPlusTheSumOverTheAnswer) {
    EXPECT_NEAR(drm_confidence(Doubles{-0.1, -0.3, -0.2}, Doubles{-0.5, -1.0}), -1.7, 1e-12);
    // a token of logp 0 more raises it: padding is rewarded
    EXPECT_NEAR(drm_confidence(Doubles{-0.1, -0.3, -0.2, 0}, {}), -0.15, 1e-12);
}

TEST(Drm, RelevanceAddsTheTermsThatThereAre) {
    EXPECT_NEAR(drm_relevance(Doubles{1.5, 0, -1}), 1.586516, 5e-7);
    EXPECT_NEAR(drm_relevance(Doubles{1.5, -1}), 1.086516, 5e-7);
}

TEST(Drm, OneDimensionIsItsZScore) {
    expect_near(scores({{1, confidence}}), {-.301511, .904534, -1.507557, .904534});
}

TEST(Drm, DimensionsAddUpOnOneScale) {
    expect_near(all_three(), {.660979, -.004695, -.039178, -.617107});
}

TEST(Drm, AConstantOrAFactorOnADimensionChangesNothing) {
    Doubles moved = coherence;
    for (double& s : moved) s = 7 + 4 * s;
    const Doubles S = all_three();
    const Doubles T = scores({{1.0 / 3, confidence}, {1.0 / 3, relevance}, {1.0 / 3, moved}});
    for (int i = 0; i < 4; ++i) EXPECT_NEAR(S[i], T[i], 1e-12);
}

TEST(Drm, EqualCompletionsAndRoundingNoiseScoreZero) {
    EXPECT_EQ(scores({{1, Doubles(4, -1.3)}}), Doubles(4, 0.0));
    EXPECT_EQ(scores({{1, {-1.3, -1.3 + 1e-9, -1.3, -1.3}}}), Doubles(4, 0.0));
    EXPECT_NE(scores({{1, {-1.3, -1.3 + 1e-4, -1.3, -1.3}}}), Doubles(4, 0.0));
}

TEST(Drm, AMalformedOrFailedCompletionLeavesTheOthersAsTheyWere) {
    const WellFormed yes = WellFormed::yes;
    for (WellFormed odd : {WellFormed::no, WellFormed::judge_failed}) {
        const Doubles S = scores({{1, {-1.7, -0.9, 1e9, -2.5}}}, {yes, yes, odd, yes});
        const int three[] = {0, 0, 0};
        const Doubles without =
            drm_scores({{1, {-1.7, -0.9, -2.5}}}, {yes, yes, yes},
                       {std::span(offset).first(4), three}, Normalise::group, 1e-6, -3);
        EXPECT_EQ(S[0], without[0]);
        EXPECT_EQ(S[1], without[1]);
        EXPECT_EQ(S[3], without[2]);
        EXPECT_EQ(S[2], odd == WellFormed::no ? -3 : 0);
    }
    // one alone among malformed ones has nothing to be compared with
    const WellFormed no = WellFormed::no;
    EXPECT_EQ(scores({{1, confidence}}, {no, yes, no, no}), Doubles({-3, 0, -3, -3}));
}
