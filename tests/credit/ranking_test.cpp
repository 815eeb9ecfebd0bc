// Ranking and localisation against counting by hand and by brute force.

#include "base/rng.h"
#include "credit/localise.h"
#include "credit/ranking.h"
#include "testing.h"

namespace {
std::vector<ScoredAnswer> random_answers(int groups, int size, int values, uint64_t seed) {
    Rng rng(seed);
    std::vector<ScoredAnswer> answers;
    for (int g = 0; g < groups; ++g)
        for (int i = 0; i < size; ++i)
            answers.push_back({g, (double)rng.below(values), rng.below(3) == 0});
    return answers;
}
} // namespace

TEST(Ranking, PairsAndTheCurve) {
    EXPECT_NEAR(pair_accuracy({1, -1, 0, 2}), 2.5 / 4, 1e-15);
    EXPECT_TRUE(std::isnan(pair_accuracy({})));
    std::vector<ScoredAnswer> answers = {{0, 3, true}, {0, 1, false}, {0, 5, false}, {1, 2, true}};
    EXPECT_EQ(gaps_within_groups(answers), (std::vector<double>{2, -2}));
    EXPECT_NEAR(area_under_curve(answers), 2.0 / 4, 1e-15); // 3 > 1, 2 > 1; 5 beats both
    answers = random_answers(5, 7, 4, 3);
    double won = 0, all = 0;
    for (const ScoredAnswer& a : answers)
        for (const ScoredAnswer& b : answers)
            if (a.right && !b.right)
                ++all, won += a.score > b.score ? 1 : a.score == b.score ? 0.5 : 0;
    EXPECT_NEAR(area_under_curve(answers), won / all, 1e-14);
    EXPECT_TRUE(std::isnan(area_under_curve({{0, 1, true}})));
}

// All draws of n of 6 answers, with ties.
TEST(Ranking, BestOfNIsTheMeanOverAllDraws) {
    std::vector<ScoredAnswer> answers = random_answers(3, 6, 3, 9);
    for (int n = 1; n <= 6; ++n) {
        double best = 0, pass = 0, draws = 0;
        for (int g = 0; g < 3; ++g)
            for (int mask = 0; mask < 64; ++mask) {
                if (__builtin_popcount(mask) != n) continue;
                double top = -1, right = 0, count = 0;
                bool any = false;
                for (int i = 0; i < 6; ++i) {
                    const ScoredAnswer& a = answers[g * 6 + i];
                    if (!(mask >> i & 1)) continue;
                    any |= a.right;
                    if (a.score > top) top = a.score, right = count = 0;
                    if (a.score == top) ++count, right += a.right;
                }
                best += right / count, pass += any, ++draws;
            }
        EXPECT_NEAR(best_of(n, answers), best / draws, 1e-14) << n;
        EXPECT_NEAR(pass_at(n, answers), pass / draws, 1e-14) << n;
    }
    EXPECT_TRUE(std::isnan(best_of(7, answers)));
}

TEST(Ranking, CalibrationFindsTheSlope) {
    Rng rng(2);
    std::vector<double> gaps;
    for (int i = 0; i < 100000; ++i) {
        const double size = 4 * rng.uniform(), p = 1 / (1 + std::exp(-0.7 * size));
        gaps.push_back(rng.uniform() < p ? size : -size);
    }
    EXPECT_LT(calibrate(gaps, 0.7, 5).expected_error, 0.01);
    EXPECT_GT(calibrate(gaps, 3, 5).expected_error, 0.1); // overconfident
    for (const CalibrationBin& bin : calibrate(gaps, 0.7, 5).bins)
        if (bin.count > 1000) {
            EXPECT_NEAR(bin.predicted, bin.observed, 0.03);
        }
}

TEST(Localise, CountsByHand) {
    std::vector<JudgedAnswer> answers = {
        // the drop is 0 -> -3 at token 2, in the wrong second step; so is the lowest token
        {{0, 0, -3, -1}, {{0, 2, true}, {2, 4, false}}},
        // the drop lies in the first step, the lowest token in the wrong second one
        {{4, -1, -1, -2}, {{0, 2, true}, {2, 4, false}}},
        // right: counts for the means alone
        {{0, 0, 0, 0}, {{0, 2, true}, {2, 4, true}}},
        // wrong from the start
        {{-5, 0, 0, 0}, {{0, 2, false}, {2, 4, false}}},
    };
    Localisation found = localise(answers);
    EXPECT_EQ(found.answers, 3);
    EXPECT_NEAR(found.largest_drop, 1.0 / 3, 1e-15);
    EXPECT_NEAR(found.lowest, 3.0 / 3, 1e-15);
    EXPECT_NEAR(found.uniform, 0.5, 1e-15);
    EXPECT_NEAR(found.most_frequent, 2.0 / 3, 1e-15);
    EXPECT_EQ(found.frequent_step, 1);
    EXPECT_EQ(found.first_wrong, (std::vector<int64_t>{1, 2}));
    // position means -0.25, -0.25, -1, -0.75: the first answer's centred Z are 0.25, 0.25, -2,
    // -0.25
    EXPECT_NEAR(found.centred_lowest, 3.0 / 3, 1e-15);
    EXPECT_NEAR(found.centred_drop, 1.0 / 3, 1e-15);
    EXPECT_EQ(localise({answers[2]}).answers, 0);
}

// A head that gives the last position low scores whatever stands there: centring finds the planted
// step.
TEST(Localise, CentringTakesOffPositionsOffsets) {
    Rng rng(6);
    std::vector<JudgedAnswer> answers;
    for (int i = 0; i < 300; ++i) {
        const int wrong = rng.below(5);
        JudgedAnswer answer;
        for (int k = 0; k < 5; ++k) {
            answer.steps.push_back({2 * k, 2 * k + 2, k != wrong});
            for (int t = 0; t < 2; ++t)
                answer.score.push_back(0.1 * rng.normal() - (k == 4 ? 9 : 0) -
                                       (k == wrong && t == 1 ? 2 : 0));
        }
        answers.push_back(answer);
    }
    Localisation found = localise(answers);
    EXPECT_LT(found.lowest, 0.3);
    EXPECT_GT(found.centred_lowest, 0.99);
    EXPECT_GT(found.centred_drop, 0.99);
}
