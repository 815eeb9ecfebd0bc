#include "dist/chooser.h"

#include "base/file.h"

#include <cmath>
#include <gtest/gtest.h>

namespace {

Demand demand(int ranks, int answers_per_device) {
    Demand d;
    d.ranks = ranks, d.answers = 4, d.target = ranks * answers_per_device / 4;
    return d;
}

Measured measured(double swap, double answer_tokens, double judge_tokens, uint64_t seed = 1) {
    Measured m;
    m.costs.swap = swap, m.costs.train_token = 1e-4;
    for (int length : draw_lengths(4000, answer_tokens, 1, 1024, seed)) m.answer.add(length);
    for (int length : draw_lengths(4000, judge_tokens, 0.7, 1024, seed + 1)) m.judge.add(length);
    return m;
}

} // namespace

TEST(Chooser, ExpectedWorkHasTheGroupsThatTheWavesMayDraw) {
    Measured m = measured(0, 100, 50);
    Demand d = demand(4, 8);
    IterationWork work = expected_work(m, d);
    EXPECT_EQ(work.groups(), 8);
    m.valid_share = m.valid_lately = 0.5, d.max_waves = 4, d.oversample = 1.25;
    work = expected_work(m, d);
    EXPECT_DOUBLE_EQ(work.expand, 2.5);
    EXPECT_EQ(work.groups(), 20); // 8 * 2.5, of which 10 are valid
    EXPECT_EQ(std::count(work.valid.begin(), work.valid.end(), 1), 10);
    EXPECT_EQ(play(m.costs, work, {}, 4).waves, 1);
    // Fewer were valid lately than a wave's size goes by: two waves are expected.
    m.valid_lately = 0.3;
    work = expected_work(m, d);
    EXPECT_EQ(work.groups(), 31); // 20 with 6 valid ones, 2 * 2.5 with 1, twice ceil(2.5) with none
    EXPECT_DOUBLE_EQ(expansion(0.001, 1.2), 10); // bounded
    EXPECT_DOUBLE_EQ(expansion(0.5, 1), 1);      // no more than are missing
    EXPECT_DOUBLE_EQ(expansion(1, 1), 1);
}

TEST(Chooser, ThePredictionIsWhatComesOut) {
    // Lengths that were counted, against other lengths of the same distribution.
    const Demand d = demand(16, 64);
    for (double swap : {0.0, 10.0}) {
        const std::vector<Candidate> all =
            predict(measured(swap, 300, 200).costs, expected_work(measured(swap, 300, 200), d), d);
        EXPECT_EQ(all.size(), 15u + 2);
        for (const Candidate& each : all) {
            const Iteration real =
                play(measured(swap, 300, 200).costs, expected_work(measured(swap, 300, 200, 9), d),
                     each.layout, 16);
            EXPECT_NEAR(each.seconds, real.seconds, 0.1 * real.seconds) << each.layout.name();
        }
    }
}

TEST(Chooser, EachLayoutIsTheBestSomewhere) {
    auto best = [](const Measured& m, const Demand& d) {
        return predict(m.costs, expected_work(m, d), d).front().layout.placement;
    };
    EXPECT_EQ(best(measured(0, 300, 200), demand(8, 64)), Placement::fluid);
    EXPECT_EQ(best(measured(60, 300, 200), demand(8, 64)), Placement::split);
    // Answers that all end together, and no swap: nothing is better than all at one thing.
    Measured equal = measured(0, 300, 200);
    equal.answer = equal.judge = {};
    for (int i = 0; i < 100; ++i) equal.answer.add(256), equal.judge.add(256);
    for (const Candidate& each :
         predict(equal.costs, expected_work(equal, demand(8, 8)), demand(8, 8))) {
        const double steps = 257 * (0.008 + 8 * 0.00012);
        if (each.layout.placement == Placement::split) {
            EXPECT_GT(each.seconds, 1.05 * 2 * steps) << each.layout.name();
        } else {
            EXPECT_LT(each.seconds, 1.01 * 2 * steps + 0.3) << each.layout.name();
        }
    }
}

TEST(Chooser, MovesForMoreThanTheGainAndStaysForTheDwell) {
    Chooser chooser;
    chooser.settings.dwell = 3;
    const Demand d = demand(8, 64);
    const Measured split = measured(60, 300, 200), fluid = measured(0, 300, 200);
    Decision said = chooser.decide(split, d, 100);
    EXPECT_EQ(said.layout.placement, Placement::split) << said.why; // the start may be left at once
    const RoleLayout first = said.layout;
    auto seconds = [&] { return chooser.predicted; };
    said = chooser.decide(fluid, d, seconds());
    EXPECT_EQ(said.layout, first) << said.why; // 1 iteration old
    said = chooser.decide(fluid, d, seconds());
    EXPECT_EQ(said.layout, first) << said.why;
    said = chooser.decide(fluid, d, seconds());
    EXPECT_EQ(said.layout.placement, Placement::fluid) << said.why;
    chooser.settings.gain = 0.9;
    for (int i = 0; i < 5; ++i) said = chooser.decide(split, d, seconds());
    EXPECT_EQ(said.layout.placement, Placement::fluid);
    EXPECT_NE(said.why.find("too little to move"), std::string::npos) << said.why;
}

TEST(Chooser, BeginsWithTheBestByWhatIsExpected) {
    Chooser chooser;
    const Demand d = demand(8, 64);
    const Measured split = measured(60, 300, 200), fluid = measured(0, 300, 200);
    EXPECT_EQ(chooser.begin(fluid, d).layout.placement, Placement::fluid);
    EXPECT_EQ(chooser.begin(split, d).layout.placement, Placement::split);
    EXPECT_EQ(chooser.layout.placement, Placement::split);
    EXPECT_EQ(chooser.predicted, 0); // the first iteration may last as long as it likes
    chooser.decide(split, d, 1e6);
    EXPECT_EQ(chooser.wrong_in_a_row, 0);
    // And be left at once where it was chosen for other lengths than those that came.
    chooser = {};
    chooser.begin(fluid, d);
    EXPECT_EQ(chooser.decide(split, d, 100).layout.placement, Placement::split);
}

// The work was another one than expected, and the costs explain it: no prediction of theirs was wrong.
TEST(Chooser, LongerAnswersAreNoWrongPrediction) {
    Chooser chooser;
    const Demand d = demand(8, 64);
    chooser.decide(measured(0, 30, 5), d, 100);
    for (double answers : {90, 270, 810}) {
        const Measured grown = measured(0, answers, 5);
        const double seconds =
            play(grown.costs, expected_work(grown, d), chooser.layout, d.ranks).seconds;
        EXPECT_GT(seconds, 1.25 * chooser.predicted);
        const Decision said = chooser.decide(grown, d, seconds);
        EXPECT_EQ(chooser.wrong_in_a_row, 0) << said.why;
    }
}

TEST(Chooser, ThreeWrongPredictionsInARowEndInShare) {
    Chooser chooser;
    const Demand d = demand(8, 64);
    const Measured m = measured(60, 300, 200);
    Decision said = chooser.decide(m, d, 100);
    ASSERT_EQ(said.layout.placement, Placement::split);
    said = chooser.decide(m, d, chooser.predicted * 2);
    said = chooser.decide(m, d, chooser.predicted * 2);
    EXPECT_EQ(said.layout.placement, Placement::split);
    said = chooser.decide(m, d, chooser.predicted * 1.1); // right: the count begins anew
    said = chooser.decide(m, d, chooser.predicted * 2);
    said = chooser.decide(m, d, chooser.predicted * 2);
    EXPECT_EQ(said.layout.placement, Placement::split);
    said = chooser.decide(m, d, chooser.predicted * 2);
    EXPECT_EQ(said.layout.placement, Placement::share);
    EXPECT_NE(said.why.find("back to share"), std::string::npos) << said.why;
    for (int i = 0; i < chooser.settings.rest; ++i) {
        said = chooser.decide(m, d, chooser.predicted);
        EXPECT_EQ(said.layout.placement, Placement::share) << said.why;
    }
    said = chooser.decide(m, d, chooser.predicted);
    EXPECT_EQ(said.layout.placement, Placement::split) << said.why;
}

TEST(Chooser, WhatItRemembersIsStoredAndReadAgain) {
    Chooser chooser, other;
    const Demand d = demand(8, 64);
    chooser.decide(measured(60, 300, 200), d, 100);
    chooser.decide(measured(30, 300, 200), d, 1);
    other.restore(Json::parse(chooser.state().dump()));
    const Decision a = chooser.decide(measured(0, 300, 200), d, 50);
    const Decision b = other.decide(measured(0, 300, 200), d, 50);
    EXPECT_EQ(a.json(), b.json());
    EXPECT_EQ(a.hash(), b.hash());
    EXPECT_NE(a.hash(), chooser.decide(measured(0, 310, 200), d, 50).hash());
    EXPECT_ANY_THROW(other.restore({{"placement", "nowhere"}}));
}

TEST(Chooser, AReplicaIsNotCutApart) {
    Demand d = demand(64, 16);
    d.replica = 8;
    for (const Candidate& each :
         predict(measured(60, 300, 200).costs, expected_work(measured(60, 300, 200), d), d))
        if (each.layout.placement == Placement::split) {
            EXPECT_EQ(each.layout.generate % 8, 0);
        }
}
