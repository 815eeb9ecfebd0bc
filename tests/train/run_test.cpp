// The run directory's rules, with a trainer that is a number.

#include "base/config.h"
#include "base/file.h"
#include "model/hf.h"
#include "train/run.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace {

struct Config {
    RunSettings run;
    OptimSettings optim;
    TrainSettings train;
    ComputeSettings compute;
    void visit(Fields& v) {
        v.object("run", run, ""), v.object("optim", optim, "");
        v.object("train", train, ""), v.object("compute", compute, "");
    }
};

struct RunDirectory : testing::Test {
    Config config;
    void SetUp() override {
        config.run.dir = testing::TempDir() + "run" + std::to_string(::getpid());
        remove_tree(config.run.dir);
        config.run.save_every = 2;
        config.run.keep = 2;
        config.train.steps = 6;
    }
    void TearDown() override { remove_tree(config.run.dir); }

    std::string at(const std::string& name) { return join_path(config.run.dir, name); }

    // Steps up to `until` (a crash after it), the way a training command does it. Returns the state that
    // the run began with.
    Json work(int64_t until) {
        Fields fields;
        config.visit(fields);
        ::Run run(config.run, fields, config.train.steps);
        Json began = run.resumed_state();
        if (run.finished()) return began;
        run.begin();
        for (int64_t step = run.step + 1; step <= until; ++step) {
            run.log({{"step", step}, {"loss", 1.0 / (double)step}});
            if (run.save_due(step))
                run.save(step, {{"number", step * 10}}, [&](const std::string& directory) {
                    write_file(join_path(directory, "model.safetensors"), std::to_string(step));
                });
        }
        return began;
    }
    std::string refusal() {
        try {
            work(config.train.steps);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }
    std::vector<std::string> checkpoints() { return list_directory(at("checkpoints")); }
};

using Names = std::vector<std::string>;

} // namespace

TEST_F(RunDirectory, KeepsTheNewestCheckpointsAndOneLinePerStep) {
    EXPECT_TRUE(work(6).is_null());
    EXPECT_EQ(checkpoints(), (Names{"000004", "000006"}));
    EXPECT_EQ(read_file(at("checkpoints/000006/model.safetensors")), "6");
    int64_t step = 0;
    for_each_row(at("metrics.jsonl"),
                 [&](const Json& row, const std::string&) { EXPECT_EQ(row["step"], ++step); });
    EXPECT_EQ(step, 6);
    EXPECT_EQ(read_json(at("config.json"))["optim"]["beta2"], 0.95); // defaults filled in
}

TEST_F(RunDirectory, ResumeContinuesFromTheNewestCheckpoint) {
    config.run.resume = true; // nothing there: it starts
    EXPECT_TRUE(work(5).is_null());
    Json state = work(6); // from 4: the line of step 5 is dropped and written again
    EXPECT_EQ(state["number"], 40);
    int64_t step = 0;
    for_each_row(at("metrics.jsonl"),
                 [&](const Json& row, const std::string&) { EXPECT_EQ(row["step"], ++step); });
    EXPECT_EQ(step, 6);
    EXPECT_EQ(work(6)["number"], 60); // finished: nothing happens
    config.train.steps = 8;           // upwards is free
    EXPECT_EQ(work(8)["number"], 60);
    EXPECT_EQ(checkpoints(), (Names{"000006", "000008"}));
    EXPECT_EQ(read_json(at("config.json"))["train"]["steps"], 8);
}

TEST_F(RunDirectory, ResumeBeforeTheFirstCheckpointStartsAgain) {
    work(1);
    config.run.resume = true;
    EXPECT_TRUE(work(6).is_null());
    EXPECT_EQ(checkpoints(), (Names{"000004", "000006"}));
}

TEST_F(RunDirectory, IncompleteDirectoriesAreNotCheckpoints) {
    work(2);
    config.run.resume = true;
    // died while writing, while removing, and before the marker
    make_directories(at("checkpoints/000004.tmp")), make_directories(at("checkpoints/000001.old"));
    make_directories(at("checkpoints/000005"));
    EXPECT_EQ(complete_checkpoints(config.run.dir).size(), 1u);
    EXPECT_EQ(work(6)["number"], 20);
    EXPECT_FALSE(file_exists(at("checkpoints/000004.tmp")));
    EXPECT_FALSE(file_exists(at("checkpoints/000001.old")));
}

TEST_F(RunDirectory, NotEmptyIsAnErrorWithoutResume) {
    work(2);
    EXPECT_NE(refusal().find("run.resume=true"), std::string::npos) << refusal();
}

TEST_F(RunDirectory, AnotherDirectoryIsNotARun) {
    make_directories(config.run.dir);
    write_file(at("thesis.tex"), "years of work");
    config.run.resume = true;
    EXPECT_NE(refusal().find("holds thesis.tex"), std::string::npos) << refusal();
    EXPECT_EQ(list_directory(config.run.dir), Names{"thesis.tex"});
}

TEST_F(RunDirectory, ARunFromBeforeAKeyWasThereGoesOn) {
    work(2);
    config.run.resume = true;
    Json saved = read_json(at("config.json"));
    saved["optim"].erase("beta2");
    write_file(at("config.json"), saved.dump());
    testing::internal::CaptureStderr();
    EXPECT_EQ(work(6)["number"], 20);
    EXPECT_NE(testing::internal::GetCapturedStderr().find("is now: optim.beta2=0.95"),
              std::string::npos);
}

TEST_F(RunDirectory, AChangedKeyIsNamedWithBothValues) {
    work(2);
    config.run.resume = true;
    config.optim.adamw.lr = 0.5;
    EXPECT_NE(refusal().find("optim.lr was 0.0001 and is now 0.5"), std::string::npos) << refusal();
    config.optim.adamw.lr = 1e-4;
    config.train.steps = 5;
    EXPECT_NE(refusal().find("train.steps was 6 and is now 5"), std::string::npos) << refusal();
    config.train.steps = 6;
    config.run.keep = 1, config.run.save_every = 3, config.compute.threads = 1;
    EXPECT_EQ(work(6)["number"], 20);
    EXPECT_EQ(checkpoints(), Names{"000006"});
}

TEST_F(RunDirectory, OfADamagedCheckpointTheOneBeforeItIsTakenAndItIsSaidSo) {
    work(4);
    config.run.resume = true;
    write_file(at("checkpoints/000004/model.safetensors"), "5");
    testing::internal::CaptureStderr();
    EXPECT_EQ(work(6)["number"], 20);
    const std::string told = testing::internal::GetCapturedStderr();
    EXPECT_NE(told.find("000004/model.safetensors is damaged"), std::string::npos) << told;
    EXPECT_NE(told.find("going back to the checkpoint before it"), std::string::npos) << told;
}

TEST_F(RunDirectory, WithoutAWholeCheckpointARunIsNotContinued) {
    work(4);
    config.run.resume = true;
    for (const char* step : {"000002", "000004"})
        write_file(at(std::string("checkpoints/") + step + "/model.safetensors"), "5");
    EXPECT_NE(refusal().find("000002/model.safetensors is damaged"), std::string::npos)
        << refusal();
    EXPECT_NE(refusal().find("no checkpoint before it"), std::string::npos) << refusal();
}

TEST_F(RunDirectory, AFailureWhileSavingLeavesTheOldCheckpoints) {
    Fields fields;
    config.visit(fields);
    ::Run run(config.run, fields, config.train.steps);
    run.begin();
    run.save(2, Json::object(), [](const std::string& directory) {
        write_file(join_path(directory, "model.safetensors"), "2");
    });
    auto full_disk = [](const std::string& directory) {
        write_file(join_path(directory, "model.safetensors"), "half");
        fail("no space left on device");
    };
    EXPECT_THROW(run.save(4, Json::object(), full_disk), Error);
    EXPECT_EQ(checkpoints(), Names{"000002"});
}

TEST_F(RunDirectory, TwoProcessesCannotShareOne) {
    Fields fields;
    config.visit(fields);
    ::Run one(config.run, fields, 6);
    one.begin();
    config.run.resume = true;
    EXPECT_NE(refusal().find("another process"), std::string::npos);
}

TEST_F(RunDirectory, APathThatCannotBeWrittenIsAnError) {
    config.run.dir = "/proc/nowhere/run";
    EXPECT_NE(refusal().find("/proc/nowhere/run"), std::string::npos) << refusal();
    config.run.dir = "";
    EXPECT_NE(refusal().find("run.dir"), std::string::npos);
    config.run.dir = testing::TempDir() + "run" + std::to_string(::getpid()); // for TearDown
}
