#include "command.h"

#include "app/simulate/curves.h"
#include "base/file.h"
#include "ops_testing.h"

namespace {

SimulateConfig small(double swap, int answers_per_device) {
    SimulateConfig config;
    config.devices = 32, config.iterations = 12;
    config.swap = swap, config.answers_per_device = answers_per_device;
    return config;
}

double seconds(const Cluster& cluster, Scheme scheme) {
    return totals(cluster, simulate(cluster, scheme)).seconds;
}

} // namespace

TEST(SimulateSlow, TheChooserIsNearTheBestFixedLayoutAndBeatsEachOfThemSomewhere) {
    bool beats_share = false, beats_half = false, beats_fluid = false;
    for (double swap : {0.0, 4.0, 20.0, 60.0})
        for (int answers : {16, 64})
            for (int iterations : {4, 12}) { // a short run, too: its beginning counts
                SimulateConfig config = small(swap, answers);
                config.iterations = iterations;
                const Cluster cluster(config);
                const double chosen = seconds(cluster, Scheme::auto_);
                for (int a = 0; a < scheme_count; ++a)
                    if (is_fixed((Scheme)a)) {
                        EXPECT_LE(chosen, 1.05 * seconds(cluster, (Scheme)a))
                            << "swap " << swap << ", answers " << answers << ", iterations "
                            << iterations << ": " << scheme_names[a];
                    }
                beats_share |= chosen < 0.95 * seconds(cluster, Scheme::share);
                beats_half |= chosen < 0.95 * seconds(cluster, Scheme::split_half);
                beats_fluid |= chosen < 0.95 * seconds(cluster, Scheme::fluid);
            }
    EXPECT_TRUE(beats_share);
    EXPECT_TRUE(beats_half);
    EXPECT_TRUE(beats_fluid);
}

// The share of valid groups falls so fast that iterations need more waves than were foreseen.
TEST(SimulateSlow, TheChooserIsNotMisledByWavesThatNobodyForesaw) {
    SimulateConfig config = small(20, 16);
    config.devices = 64, config.iterations = 8;
    const Cluster cluster(config);
    const std::vector<SchemeIteration> rows = simulate(cluster, Scheme::auto_);
    for (int a = 0; a < scheme_count; ++a)
        if (is_fixed((Scheme)a)) {
            EXPECT_LE(totals(cluster, rows).seconds, 1.05 * seconds(cluster, (Scheme)a));
        }
    for (const SchemeIteration& row : rows)
        EXPECT_EQ(row.why.find("back to share"), std::string::npos);
}

TEST(Simulate, ARunGrowsAsItIsTold) {
    const Cluster cluster(small(4, 16));
    auto mean = [&](int iteration) {
        const IterationWork work = cluster.work(iteration, 1);
        double sum = 0;
        for (int length : work.length) sum += length;
        return sum / (double)work.length.size();
    };
    EXPECT_NEAR(mean(0), 400, 60);
    EXPECT_NEAR(mean(11) / mean(0), 2.5, 0.5);
    const IterationWork first = cluster.work(3, 0.5), again = cluster.work(3, 0.5);
    EXPECT_EQ(first.length, again.length);
    EXPECT_EQ(first.valid, again.valid);
    EXPECT_DOUBLE_EQ(first.expand, 2.4);
}

// Lengths of answers as a run stored them, in the place of the configured distribution.
TEST(Simulate, ARunsOwnLengths) {
    Scratch at;
    make_directories(at("run/rollouts"));
    write_file(at("run/rollouts/000001.jsonl"), "{\"completion_ids\": [1, 2, 3, 4, 5, 6, 7, 8]}\n");
    SimulateConfig config = small(4, 16);
    config.run = at("run");
    for (int length : Cluster(config).work(11, 1).length) {
        EXPECT_GE(length, 8); // of the histogram's bin
        EXPECT_LE(length, 9);
    }
    write_file(at("run/rollouts/000002.jsonl"), "{\"completion\": \"x\"}\n");
    expect_error([&] { Cluster cluster(config); }, "completion_ids");
    config.run = at("nothing");
    expect_error([&] { Cluster cluster(config); }, "has no stored answers");
}

TEST(Simulate, TheCommandSaysOfEveryNumberThatItIsSimulated) {
    Scratch at;
    const Outcome outcome = rlhf({"simulate", "devices=16", "iterations=3", "out=" + at("rows")});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(outcome.out.rfind("simulated: 16 devices, 32 groups of 8 answers", 0), 0u);
    int rows = 0;
    for (const Json& row : rows_of(at("rows"))) {
        EXPECT_EQ(row["simulated"], true);
        double sum = 0;
        for (const auto& [name, part] : row["device_seconds"].items()) sum += part.get<double>();
        EXPECT_NEAR(sum, 16 * row["seconds"].get<double>(), 1e-6 * sum) << row.dump();
        ++rows;
    }
    EXPECT_EQ(rows, 3 * scheme_count);
    EXPECT_EQ(rlhf({"simulate", "devices=1"}).status, 1);
}

TEST(SimulateSlow, FiveFiguresAsTextAndAsOnePage) {
    Scratch at;
    const Outcome outcome = rlhf({"simulate", "devices=64", "iterations=2", "curves=true",
                                  "answer.longest=1000", "html=" + at("page.html")});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const std::string page = read_file(at("page.html"));
    for (const char* title :
         {"What controllers cost", "Idle share by layout", "Which layout is the fastest",
          "Waves of dynamic sampling", "While answers grow"}) {
        EXPECT_TRUE(contains(outcome.out, "simulated: " + std::string(title))) << title;
        EXPECT_TRUE(contains(page, std::string(title) + " (simulated)")) << title;
    }
    EXPECT_TRUE(contains(page, "not held against ranks that wait"));
    write_file(at("rows"), "{\"seconds\": 10.5, \"simulated_seconds\": 10, \"ranks\": 4}\n"
                           "{\"seconds\": 10.1, \"simulated_seconds\": 10, \"ranks\": 8}\n");
    const std::string said = validation_error(at("rows"));
    EXPECT_TRUE(contains(said, "3.0 % on average, at most 5.0 %, of 2 iterations that 4, 8"))
        << said;
    EXPECT_TRUE(contains(page, "</html>"));
    EXPECT_FALSE(contains(page, "nan"));
}
