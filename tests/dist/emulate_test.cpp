// Ranks that wait instead of computing, against what the simulator says of them.

#include "dist/mpirun.h"

#include <cmath>

// Short and coarse: a decode step is long against what a busy machine is late.
static const Words small = {
    "simulate",           "configs/cluster_8.json", "emulate=true",   "iterations=1",
    "generate.step=0.03", "judge.step=0.03",        "answer.mean=10", "answer.longest=30",
    "judge_text.mean=8",  "judge_text.longest=20"};

static double seconds_of(const std::vector<Json>& rows, const std::string& scheme) {
    double sum = 0;
    for (const Json& row : rows)
        if (row["scheme"] == scheme) sum += row["seconds"].get<double>();
    return sum;
}

// The largest difference of a scheme's time from what is simulated, as a share of that.
static double difference_of(int ranks) {
    Scratch at;
    const Outcome outcome = rlhf_on(ranks, at, small + Words{"out=" + at("rows")});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    const std::vector<Json> rows = rows_of(at("rows"));
    EXPECT_EQ(rows.size(), ranks == 1 ? 3u : 5u); // one rank cannot be split
    double largest = 0;
    for (const Json& row : rows) {
        const double seconds = row["seconds"], simulated = row["simulated_seconds"];
        largest = std::max(largest, std::abs(seconds / simulated - 1));
        double spent = 0;
        for (const auto& [what, part] : row["device_seconds"].items()) spent += part.get<double>();
        EXPECT_NEAR(spent, ranks * seconds, 0.05 * spent) << row.dump();
        EXPECT_GE(row["valid_groups"], 2 * ranks) << row.dump(); // every one was played
    }
    return largest;
}

// A machine that is busy with something else is late: the best of three tries counts.
static void expect_as_simulated(int ranks) {
    NEEDS_MPI();
    double least = INFINITY;
    for (int tries = 0; tries < 3 && least > 0.15; ++tries)
        least = std::min(least, difference_of(ranks));
    EXPECT_LE(least, 0.15);
}

TEST(EmulateSlow, TwoRanksTakeTheTimeThatIsSimulated) { expect_as_simulated(2); }
TEST(EmulateSlow, OneRankToo) { expect_as_simulated(1); }
TEST(EmulateSlow, EightRanksToo) { expect_as_simulated(8); }

// Two levels: ranks that count as four machines, or as eight. The command itself checks that each ticket was
// drawn, and each group judged, once.
TEST(EmulateSlow, EachTicketIsDrawnOnceOnSeveralMachines) {
    NEEDS_MPI();
    for (const char* each : {"RLHF_RANKS_PER_MACHINE=2", "RLHF_RANKS_PER_MACHINE=1"}) {
        Scratch at;
        const Words words = small + Words{"out=" + at("rows"), "answers_per_device=16"};
        const Outcome outcome = run_line(mpirun_line(8, words, each), at("mpirun."));
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        EXPECT_EQ(rows_of(at("rows")).size(), 5u);
    }
}

TEST(EmulateSlow, SamplesThroughOneRanksHandsCostMore) {
    NEEDS_MPI();
    Scratch at;
    const Outcome outcome =
        rlhf_on(4, at, {"simulate", "emulate=true", "controllers=true", "devices=4"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const size_t row = outcome.out.find("image of 5 MB");
    ASSERT_NE(row, std::string::npos) << outcome.out;
    double central = 0, stays = 0;
    ASSERT_EQ(std::sscanf(outcome.out.c_str() + row, "image of 5 MB %lf %lf", &central, &stays), 2);
    EXPECT_GT(central, 2 * stays);
}

// Short runs of four ranks, one for each layout that is the best somewhere; of three tries the best.
TEST(EmulateSlow, TheChooserIsNearTheBestFixedLayoutFromTheFirstIterationOn) {
    NEEDS_MPI();
    for (const char* swap : {"swap=0", "swap=1.5"}) {
        double least = INFINITY;
        for (int tries = 0; tries < 3 && least > 1.05; ++tries) {
            Scratch at;
            const Words words = small + Words{swap, "iterations=3", "out=" + at("rows")};
            const Outcome outcome = rlhf_on(4, at, words);
            ASSERT_EQ(outcome.status, 0) << outcome.err;
            EXPECT_TRUE(contains(outcome.out, "emulated: auto takes ")) << outcome.out;
            const std::vector<Json> rows = rows_of(at("rows"));
            double best = INFINITY;
            for (const char* scheme : {"share", "split half", "fluid"})
                best = std::min(best, seconds_of(rows, scheme));
            least = std::min(least, seconds_of(rows, "auto") / best);
        }
        EXPECT_LE(least, 1.05) << swap;
    }
}

TEST(Emulate, ToSimulateIsTheWorkOfOne) {
    NEEDS_MPI();
    Scratch at;
    const Outcome outcome = rlhf_on(2, at, {"simulate", "devices=4"});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_TRUE(contains(outcome.err, "emulate=true")) << outcome.err;
}
