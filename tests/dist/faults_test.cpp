// What can happen to a run of several processes, made to happen: afterwards it goes on with
// run.resume=true, with another number of ranks, too, and ends with the bits of an undisturbed one.
// RLHF_FAULTS=all (make faults) tries every place of a save; else a few.

#include "base/clock.h"
#include "dist/mpirun.h"

#include <filesystem>

namespace {

struct FaultsSlow : testing::Test {
    Scratch at;

    Words words(const std::string& run, int steps, const Words& more = {}) const {
        return tiny_sft + Words{"train.rows_per_step=7", "data.eval_rows=1",
                                "dist.determinism=2",    "run.resume=true",
                                "run.save_every=2",      "train.steps=" + std::to_string(steps),
                                "run.dir=" + at(run)} +
               more;
    }
    Outcome on(int ranks, const Words& all) const { return rlhf_on(ranks, at, all); }

    std::string weights(const std::string& run, const char* step) const {
        return read_file(at(run) + "/checkpoints/" + step + "/model.safetensors");
    }
    // Of 6 steps that nothing happened to.
    std::string undisturbed() {
        if (!file_exists(at("whole"))) {
            EXPECT_EQ(rlhf(words("whole", 6)).status, 0);
        }
        return weights("whole", "000006");
    }
    // Waits until the run has so many steps, at most a minute.
    void wait_for_steps(const std::string& run, int steps) const {
        const std::string metrics = at(run) + "/metrics.jsonl";
        for (const double start = now(); now() - start < 60; ::usleep(20'000)) {
            const std::string text = file_exists(metrics) ? read_file(metrics) : "";
            if (std::count(text.begin(), text.end(), '\n') >= steps) return;
        }
        ADD_FAILURE() << run << " did not come to step " << steps;
    }
    // The process of a rank: what runs in that directory and was told that number.
    pid_t process_of(const std::string& run, int rank) const {
        const std::string number = format("OMPI_COMM_WORLD_RANK=%d", rank);
        for (const std::string& name : list_directory("/proc")) {
            if (name.find_first_not_of("0123456789") != std::string::npos) continue;
            auto read = [&](const char* file) {
                std::string text(1 << 16, '\0');
                FILE* in = std::fopen(("/proc/" + name + "/" + file).c_str(), "r");
                if (!in) return std::string();
                text.resize(std::fread(text.data(), 1, text.size(), in));
                std::fclose(in);
                return text;
            };
            const std::string environment = read("environ");
            if (contains(read("cmdline"), at(run)) &&
                contains('\0' + environment, '\0' + number + '\0'))
                return (pid_t)std::stoi(name);
        }
        ADD_FAILURE() << "rank " << rank << " of " << run << " is not there";
        return -1;
    }
    // Starts a long run of two ranks, sends a signal to the second, and gives the end of it.
    Outcome signalled(const std::string& run, int signal, double* seconds) const {
        const std::string line =
            mpirun_line(2, words(run, 100000, {"dist.watchdog_seconds=4"}), "", 90);
        std::system(("(" + line + " > " + in_quotes(at(run + ".out")) + " 2> " +
                     in_quotes(at(run + ".err")) + " < /dev/null; echo $? > " +
                     in_quotes(at(run + ".status")) + ") &")
                        .c_str());
        wait_for_steps(run, 5);
        ::usleep(500'000); // until the watchdogs have seen the training
        const pid_t process = process_of(run, 1);
        const double start = now();
        if (process > 0) ::kill(process, signal);
        while (!file_exists(at(run + ".status")) || read_file(at(run + ".status")).empty())
            ::usleep(20'000);
        *seconds = now() - start;
        return {std::stoi(read_file(at(run + ".status"))), read_file(at(run + ".out")),
                read_file(at(run + ".err"))};
    }
};

bool in_full() { return std::getenv("RLHF_FAULTS") != nullptr; }

} // namespace

TEST_F(FaultsSlow, AStoppedRankIsNamedAndTheRunEndsWith75) {
    NEEDS_MPI();
    double seconds = 0;
    const Outcome outcome = signalled("stopped", SIGSTOP, &seconds);
    std::printf("a stopped rank: status %d after %.1f s\n", outcome.status, seconds);
    EXPECT_EQ(outcome.status, 75) << outcome.err;
    EXPECT_LT(seconds, 20);
    EXPECT_TRUE(contains(outcome.err, "rank 1 of 2 on ")) << outcome.err;
    EXPECT_TRUE(contains(outcome.err, " s, at ")) << outcome.err;
    EXPECT_TRUE(contains(outcome.err, "rank 0 ends the run")) << outcome.err;
}

TEST_F(FaultsSlow, AKilledRankEndsTheRunAndItGoesOnWithAnotherNumber) {
    NEEDS_MPI();
    double seconds = 0;
    const Outcome outcome = signalled("killed", SIGKILL, &seconds);
    std::printf("a killed rank: status %d after %.1f s\n", outcome.status, seconds);
    EXPECT_EQ(outcome.status, 137) << outcome.err;
    EXPECT_LT(seconds, 20);
    const auto checkpoints = list_directory(at("killed/checkpoints"));
    const int step = std::atoi(checkpoints.back().c_str());
    ASSERT_GT(step, 0);
    const std::string steps = format("train.steps=%d", step + 4);
    // train.steps goes upwards only: the run began with many.
    Json config = read_json(at("killed/config.json"));
    config["train"]["steps"] = step + 4;
    write_file(at("killed/config.json"), config.dump());
    const Outcome more = on(3, words("killed", step + 4));
    ASSERT_EQ(more.status, 0) << more.err;
    ASSERT_EQ(rlhf(words("straight", step + 4)).status, 0);
    const std::string name = format("%06d", step + 4);
    EXPECT_TRUE(weights("killed", name.c_str()) == weights("straight", name.c_str()));
}

TEST_F(FaultsSlow, ARunGoesOnWithFourThenTwoThenEightRanks) {
    NEEDS_MPI();
    for (auto [ranks, steps] : {std::pair{4, 2}, {2, 4}, {in_full() ? 8 : 3, 6}}) {
        const Outcome outcome = on(ranks, words("many", steps));
        ASSERT_EQ(outcome.status, 0) << outcome.err;
    }
    EXPECT_TRUE(weights("many", "000006") == undisturbed());
    // bf16 in the model's directory: the full weights stand in the pieces.
    const Words bf16 = {"run.save_dtype=bf16"};
    ASSERT_EQ(rlhf(words("rounded", 6, bf16)).status, 0);
    ASSERT_EQ(on(3, words("rounded_many", 4, bf16)).status, 0);
    ASSERT_EQ(on(2, words("rounded_many", 6, bf16)).status, 0);
    EXPECT_TRUE(weights("rounded_many", "000006") == weights("rounded", "000006"));
}

TEST_F(FaultsSlow, ADamagedPieceIsToldOfAndTheCheckpointBeforeItTaken) {
    NEEDS_MPI();
    int number = 0;
    for (const char* damage : {"flip", "cut", "lose"}) {
        const std::string run = format("run%d", number++);
        ASSERT_EQ(on(2, words(run, 4)).status, 0);
        const std::string piece =
            at(run) + "/checkpoints/000004/trainer/trainer-00002-of-00002.safetensors";
        std::string bytes = read_file(piece);
        if (damage == std::string("flip")) bytes[bytes.size() / 2] ^= 1;
        if (damage == std::string("cut")) bytes.pop_back();
        if (damage == std::string("lose"))
            remove_tree(piece);
        else
            write_file(piece, bytes);
        const Outcome outcome = on(3, words(run, 6));
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        EXPECT_TRUE(contains(outcome.err, "trainer-00002-of-00002.safetensors is")) << outcome.err;
        EXPECT_TRUE(contains(outcome.err, "going back to the checkpoint before it")) << outcome.err;
        EXPECT_TRUE(weights(run, "000006") == undisturbed()) << damage;
        if (!in_full()) break;
    }
}

TEST_F(FaultsSlow, AtNoPlaceOfASaveIsACheckpointLost) {
    NEEDS_MPI();
    for (int place = 1; place <= 12; ++place) {
        if (!in_full() && place != 2 && place != 7) continue;
        const std::string run = format("died%d", place);
        const Outcome died = run_line(
            mpirun_line(2, words(run, 6), format("RLHF_DIE_AT_SAVE=%d", place)), at("died."));
        EXPECT_EQ(died.status, 137) << place << ": " << died.err;
        const Outcome more = on(3, words(run, 6));
        ASSERT_EQ(more.status, 0) << place << ": " << more.err;
        EXPECT_TRUE(weights(run, "000006") == undisturbed()) << place;
        for (const std::string& name : list_directory(at(run) + "/checkpoints"))
            EXPECT_EQ(name.find_first_not_of("0123456789"), std::string::npos) << name;
    }
}

// No file may grow beyond 40 KiB: the weights do not fit.
TEST_F(FaultsSlow, AFullDiskIsToldOfOnceAndEndsTheRunTheSecondTime) {
    NEEDS_MPI();
    const Words larger = {"tiny.width=64", "tiny.feed_forward=96"};
    ASSERT_EQ(on(2, words("full", 2, larger)).status, 0);
    // The library's own shared memory would be a file that is too large.
    const std::string line =
        mpirun_line(2, words("full", 8, larger + Words{"dist.watchdog_seconds=0"}),
                    "OMPI_MCA_btl=self,tcp PMIX_MCA_gds=hash", 120, "trap '' XFSZ; ulimit -f 40");
    const Outcome outcome = run_line(line, at("full."));
    EXPECT_EQ(outcome.status, 77) << outcome.err;
    EXPECT_TRUE(contains(outcome.err, "the checkpoint of step 4 could not be written"))
        << outcome.err;
    EXPECT_EQ(list_directory(at("full/checkpoints")), Words{"000002"});
    const Outcome more = on(2, words("full", 8, larger));
    ASSERT_EQ(more.status, 0) << more.err;
}

// Hosts are network namespaces. In make faults alone, and by root: it makes interfaces.
TEST_F(FaultsSlow, SeveralHostsAndOneThatIsCutOff) {
    NEEDS_MPI();
    if (!in_full()) GTEST_SKIP() << "several hosts are tried by make faults";
    const std::string binary = in_quotes(std::filesystem::absolute(rlhf_binary()).string());
    auto line = [&](const Words& words, const std::string& before) {
        std::string text = before + " timeout -k 5 200 tests/dist/hosts.sh 3 2 " + binary;
        for (const std::string& word : words) text += " " + in_quotes(word);
        return text;
    };
    const Outcome whole = run_line(line(words("hosts", 6), ""), at("hosts."));
    if (whole.status == 99) GTEST_SKIP() << whole.err;
    ASSERT_EQ(whole.status, 0) << whole.err;
    EXPECT_TRUE(weights("hosts", "000006") == undisturbed());
    // The cable is pulled: mpirun's keepalive notices before anybody's patience ends.
    const Words long_run = words("cut", 100000, {"dist.watchdog_seconds=60"});
    const Outcome cut =
        run_line(line(long_run, "CUT=12 CUT_TIME=" + in_quotes(at("cut.time"))), at("cut."));
    const double seconds = (double)::time(nullptr) - std::atof(read_file(at("cut.time")).c_str());
    std::printf("a host that is cut off: status %d after %.0f s\n", cut.status, seconds);
    EXPECT_NE(cut.status, 0) << cut.err;
    EXPECT_NE(cut.status, 124) << cut.err;
    EXPECT_LT(seconds, 20 + 3);
    const auto checkpoints = list_directory(at("cut/checkpoints"));
    const int step = std::atoi(checkpoints.back().c_str());
    ASSERT_GT(step, 0);
    Json config = read_json(at("cut/config.json"));
    config["train"]["steps"] = step + 2;
    write_file(at("cut/config.json"), config.dump());
    ASSERT_EQ(on(2, words("cut", step + 2)).status, 0);
    ASSERT_EQ(rlhf(words("straight", step + 2)).status, 0);
    const std::string name = format("%06d", step + 2);
    EXPECT_TRUE(weights("cut", name.c_str()) == weights("straight", name.c_str()));
}

TEST_F(FaultsSlow, TheSupervisorStartsARunAgainUntilItIsDone) {
    NEEDS_MPI();
    // Each process dies at the seventh place: after its first save, and again after the next.
    const Words run = words("supervised", 6);
    std::string line = "RANKS=2 PAUSE=0 MPIRUN_FLAGS='--allow-run-as-root --bind-to none' "
                       "ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 "
                       "RLHF_DIE_AT_SAVE=7 timeout -k 5 200 configs/supervise.sh " +
                       in_quotes(rlhf_binary());
    for (const std::string& word : run) line += " " + in_quotes(word);
    const Outcome outcome = run_line(line, at("supervised."));
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(contains(outcome.err, "starting again from 000002")) << outcome.err;
    EXPECT_TRUE(weights("supervised", "000006") == undisturbed());
}
