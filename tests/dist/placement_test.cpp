// Every expected second is worked out by hand from the rules on top of dist/placement.h.

#include "dist/placement.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>

namespace {

// One answer of each length, no judge.
IterationWork answers_of(const std::vector<int>& lengths) {
    IterationWork work;
    work.answers = 1, work.texts = 0;
    work.length = lengths;
    work.valid.assign(lengths.size(), 1);
    work.target = (int)lengths.size();
    return work;
}

IterationWork judged(const std::vector<int>& lengths, const std::vector<int>& judge) {
    IterationWork work = answers_of(lengths);
    work.texts = 1;
    work.judge_length = judge;
    return work;
}

Costs one_second_steps() {
    Costs costs;
    costs.generate = costs.judge = {1, 0, 0};
    costs.slots = 1;
    return costs;
}

const RoleLayout share{Placement::share, 0, 0}, fluid{Placement::fluid, 0, 0};
RoleLayout split(int generate) { return {Placement::split, generate, 0}; }

IterationWork random_work(int groups, uint64_t seed) {
    IterationWork work;
    work.answers = 4, work.texts = 2;
    work.length = draw_lengths(groups * 4, 40, 1, 500, seed);
    work.judge_length = draw_lengths(groups * 8, 30, 1, 500, seed + 1);
    work.valid.assign((size_t)groups, 1);
    work.target = groups;
    return work;
}

const std::vector<RoleLayout> layouts = {share, fluid, split(1), split(5), split(7)};

} // namespace

TEST(Placement, DecodeStepsCostALineInTheTextsInFlight) {
    Costs costs;
    costs.generate = {1, 0.5, 0};
    costs.slots = 4;
    // Two devices, a fair share of two texts each, lengths 2 3 1 1. Both draw one text: a step of 1.5 s.
    // Both draw another: a step of 2 s, at 3.5 s. The first is done (2 and 1 tokens); the second has a
    // token of its 3 left: 1.5 s.
    const Iteration it = play(costs, answers_of({2, 3, 1, 1}), share, 2);
    EXPECT_DOUBLE_EQ(it.seconds, 5);
    EXPECT_DOUBLE_EQ(it.spent.generate, 3.5 + 5);
    EXPECT_DOUBLE_EQ(it.spent.tail, 1.5);
    // 1.5 s with one text and 2 s with two on both, 1.5 s with one on the second
    EXPECT_DOUBLE_EQ(it.occupied, 2 * (1.5 + 2 * 2) + 1.5);
}

TEST(Placement, PromptsAndTicketsHoldADeviceUp) {
    Costs costs = one_second_steps();
    costs.generate.prompt_token = 0.1, costs.judge.prompt_token = 0.01, costs.ticket = 0.5;
    IterationWork work = judged({3}, {2});
    work.prompt_tokens = 10;
    // 0.5 + 10 * 0.1 + 3, then 0.5 + (10 + 3) * 0.01 + 2
    EXPECT_DOUBLE_EQ(play(costs, work, share, 1).seconds, 4.5 + 2.63);
}

TEST(Placement, TheThreeWaysByHand) {
    Costs costs = one_second_steps();
    costs.swap = 10;
    const IterationWork work = judged({4, 8, 4, 4}, {3, 3, 3, 3});
    // share, two devices: 0: 4 4 4 = 12 s, 1: 8 = 8 s; barrier at 12, swap, two texts each: 6 s, swap.
    Iteration it = play(costs, work, share, 2);
    EXPECT_DOUBLE_EQ(it.seconds, 12 + 10 + 6 + 10);
    EXPECT_DOUBLE_EQ(it.spent.tail, 4);
    EXPECT_DOUBLE_EQ(it.spent.swap, 40);
    EXPECT_DOUBLE_EQ(it.spent.judge, 12);

    // split 1: 4, 12, 16, 20; the judge has swapped by 10, judges 10-13, 13-16, 16-19, 20-23, swaps.
    it = play(costs, work, split(1), 2);
    EXPECT_DOUBLE_EQ(it.seconds, 23 + 10);
    EXPECT_DOUBLE_EQ(it.spent.queue, 1);
    EXPECT_DOUBLE_EQ(it.spent.swap, 20);
    EXPECT_DOUBLE_EQ(it.spent.barrier,
                     3 + 10); // the generator, until the judge is done and has swapped

    // fluid: 0: 4, 8; 1: 8. The third ticket is drawn by 0 at 4, the fourth at 8 by 0 (the lower
    // number), until 12. Device 1 swaps at 8, judges 18-21 .. the four groups until 30; device 0 swaps
    // at 12, judges at 22 the next one. 1: 18-21, 21-24, 0: 22-25, 1: 24-27. Both swap: 37.
    it = play(costs, work, fluid, 2);
    EXPECT_DOUBLE_EQ(it.seconds, 27 + 10);
    EXPECT_DOUBLE_EQ(it.spent.barrier, 2); // device 0 from 25 to 27
    EXPECT_DOUBLE_EQ(it.spent.swap, 40);
    EXPECT_DOUBLE_EQ(it.spent.tail, 0);
}

TEST(Placement, TrainingTakesAsLongAsItsLargestShare) {
    Costs costs = one_second_steps();
    costs.train_token = 0.1, costs.update = 2;
    // 30 tokens on 2 devices: 15 each; then one text of 20 of 24 tokens: 20.
    EXPECT_DOUBLE_EQ(play(costs, answers_of({15, 15}), share, 2).seconds, 15 + 1.5 + 2);
    const Iteration it = play(costs, answers_of({20, 4}), share, 2);
    EXPECT_DOUBLE_EQ(it.seconds, 20 + 2 + 2);
    EXPECT_DOUBLE_EQ(it.spent.imbalance, 2 * (2 - 1.2));
    EXPECT_EQ(it.tokens, 24);
}

TEST(Placement, WavesGoOnUntilEnoughGroupsTeachSomething) {
    Costs costs = one_second_steps();
    IterationWork work = answers_of({5, 5, 5, 5, 5, 5});
    work.valid = {1, 0, 0, 1, 0, 1};
    work.target = 2, work.max_waves = 9, work.expand = 1;
    // Two groups, one valid; one more: not; one more: valid. One device each.
    Iteration it = play(costs, work, share, 2);
    EXPECT_EQ(it.waves, 3);
    EXPECT_EQ(it.issued, 4);
    EXPECT_EQ(it.accepted, 2);
    EXPECT_DOUBLE_EQ(it.seconds, 15);
    work.expand = 2; // four at once: two devices take two each
    it = play(costs, work, share, 2);
    EXPECT_EQ(it.waves, 1);
    EXPECT_DOUBLE_EQ(it.seconds, 10);
    work.valid.assign(6, 0); // what there is is all: it ends
    it = play(costs, work, share, 2);
    EXPECT_EQ(it.accepted, 0);
    EXPECT_EQ(it.issued, 6);
    EXPECT_EQ(it.tokens, 0);
}

TEST(Placement, AThirdPartThatOnlyTrainsWorksBesideTheOthers) {
    Costs costs = one_second_steps();
    costs.train_token = 1;
    const IterationWork work = judged({4, 4}, {3, 3});
    // Generation 4, 8; judge 4-7, 8-11; training of 8 tokens on one device: 8 s.
    Iteration it = play(costs, work, {Placement::split, 1, 1}, 3);
    EXPECT_DOUBLE_EQ(it.seconds, 11);
    costs.train_token = 2;
    it = play(costs, work, {Placement::split, 1, 1}, 3);
    EXPECT_DOUBLE_EQ(it.seconds, 16);
    EXPECT_DOUBLE_EQ(it.spent.total(), 3 * 16);
}

TEST(Placement, NoSecondIsLostAndNoTokenIsMadeTwice) {
    Costs costs;
    costs.generate = {1, 0.25, 0.01}, costs.judge = {2, 0.5, 0.003};
    costs.slots = 6, costs.swap = 7, costs.ticket = 0.1, costs.train_token = 0.02, costs.update = 1;
    for (uint64_t seed : {1, 2, 3})
        for (const RoleLayout& layout : layouts) {
            const IterationWork work = random_work(37, seed);
            std::vector<DeviceSpan> intervals;
            const Iteration it = play(costs, work, layout, 8, &intervals);
            EXPECT_NEAR(it.spent.total(), 8 * it.seconds, 1e-6 * it.seconds) << layout.name();
            EXPECT_GE(it.spent.idle(), 0);
            EXPECT_EQ(it.accepted, 37);
            EXPECT_EQ(it.tokens,
                      std::accumulate(work.length.begin(), work.length.end(), int64_t(0)));
            // A device does one thing at a time.
            std::stable_sort(
                intervals.begin(), intervals.end(), [](const DeviceSpan& a, const DeviceSpan& b) {
                    return a.device != b.device ? a.device < b.device : a.begin < b.begin;
                });
            double worked = 0;
            for (size_t i = 0; i < intervals.size(); ++i) {
                worked += intervals[i].end - intervals[i].begin;
                if (i > 0 && intervals[i - 1].device == intervals[i].device) {
                    EXPECT_LE(intervals[i - 1].end, intervals[i].begin + 1e-9) << layout.name();
                }
            }
            EXPECT_NEAR(worked, it.spent.total() - it.spent.idle() + it.spent.swap, 1e-6 * worked);
        }
}

TEST(Placement, OccupiedPlacesAreTheTokensWhereAStepCostsTheSame) {
    Costs costs;
    costs.generate = {0.5, 0, 0}, costs.judge = {2, 0, 0};
    costs.slots = 6;
    const IterationWork work = random_work(21, 5);
    auto sum = [](const std::vector<int>& x) {
        return (double)std::accumulate(x.begin(), x.end(), int64_t(0));
    };
    for (const RoleLayout& layout : layouts)
        EXPECT_NEAR(play(costs, work, layout, 8).occupied,
                    0.5 * sum(work.length) + 2 * sum(work.judge_length), 1e-6)
            << layout.name();
}

TEST(Placement, FluidNeverWaitsForOthersWhileATicketIsLeft) {
    Costs costs = one_second_steps();
    costs.slots = 16; // nothing is held back: what is ready is drawn by whoever is free
    for (uint64_t seed : {1, 2, 3}) {
        const IterationWork work = random_work(64, seed);
        std::vector<DeviceSpan> intervals;
        const Iteration it = play(costs, work, fluid, 8, &intervals);
        EXPECT_DOUBLE_EQ(it.spent.swap, 0);
        const Iteration shared = play(costs, work, share, 8);
        EXPECT_LT(it.spent.idle(), shared.spent.idle());
        EXPECT_LE(it.seconds, shared.seconds + 1e-9);
    }
}

TEST(Placement, TicketsLeaveLessIdleThanEqualRunsAndLongestFirstLeast) {
    double tickets = 0, runs = 0, ordered = 0;
    for (uint64_t seed = 1; seed < 9; ++seed) {
        IterationWork work = answers_of(draw_lengths(64, 100, 1, 2000, seed));
        auto idle = [&] {
            const Iteration it = play(one_second_steps(), work, share, 8);
            return it.spent.idle() / it.spent.total();
        };
        tickets += idle() / 8;
        work.tickets = false;
        runs += idle() / 8;
        work.tickets = true;
        std::sort(work.length.rbegin(), work.length.rend());
        ordered += idle() / 8;
    }
    EXPECT_LT(tickets, 0.7 * runs);
    EXPECT_LT(ordered, 0.3 * tickets);
}

TEST(Placement, TheDecodeLineIsFoundAgain) {
    std::vector<DecodeSample> samples;
    for (auto [rounds, tokens] : {std::pair{100.0, 800.0}, {50.0, 2000.0}, {10.0, 10.0}})
        samples.push_back({rounds, tokens, 0.008 * rounds + 0.00012 * tokens});
    const DecodeCost line = fit_decode(samples);
    EXPECT_NEAR(line.step, 0.008, 1e-12);
    EXPECT_NEAR(line.sequence, 0.00012, 1e-12);
    // All alike: one number, and the same time.
    const DecodeCost alike = fit_decode({{10, 40, 2}, {20, 80, 4}});
    EXPECT_NEAR(alike.step * 10 + alike.sequence * 40, 2, 1e-9);
    const DecodeCost falling = fit_decode({{10, 10, 10}, {10, 100, 9}});
    EXPECT_GE(falling.sequence, 0);
    EXPECT_GT(falling.step, 0);
}

TEST(Placement, WhatCannotBeIsSaid) {
    EXPECT_ANY_THROW(play({}, answers_of({1, 2}), split(2), 2));
    EXPECT_ANY_THROW(play({}, answers_of({1, 2}), split(0), 2));
    EXPECT_ANY_THROW(play({}, answers_of({1, 2}), {Placement::fluid, 0, 1}, 2));
    IterationWork work = answers_of({1, 2});
    work.length.pop_back();
    EXPECT_ANY_THROW(play({}, work, share, 2));
}
