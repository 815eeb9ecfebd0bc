#include "base/file.h"
#include "base/log.h"

#include <csignal>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

static std::string scratch(const char* name) {
    std::string path = testing::TempDir() + name + std::to_string(::getpid());
    remove_tree(path);
    return path;
}

TEST(MetricsLog, AppendsAndSurvivesReopening) {
    std::string path = scratch("metrics");
    {
        MetricsLog log;
        log.open(path, 0);
        log.write("{\"step\":1}");
        EXPECT_EQ(read_file(path), "{\"step\":1}\n"); // visible at once, not at the end
        log.write("{\"step\":2}");
    }
    MetricsLog log;
    log.open(path, 2);
    log.write("{\"step\":3}");
    EXPECT_EQ(read_file(path), "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n");
    remove_tree(path);
}

TEST(MetricsLog, DropsWhatTheCheckpointDoesNotKnow) {
    std::string path = scratch("metrics");
    // step 3 is past the checkpoint, the line after it was cut off by the crash
    write_file(path, "{\"step\":1}\n{\"step\":2,\"loss\":1.5}\n{\"step\":3}\n{\"step\":4,\"lo");
    MetricsLog log;
    log.open(path, 2);
    EXPECT_EQ(read_file(path), "{\"step\":1}\n{\"step\":2,\"loss\":1.5}\n");
    log.write("{\"step\":3}");
    EXPECT_EQ(read_file(path), "{\"step\":1}\n{\"step\":2,\"loss\":1.5}\n{\"step\":3}\n");
    remove_tree(path);
}

TEST(MetricsLog, AFullDiskIsAnErrorThatNamesTheFile) {
    std::string path = scratch("metrics");
    MetricsLog log;
    log.open(path, 0);
    rlimit before{}, small{};
    ::getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 10; // bytes per file, a disk that is nearly full
    ::signal(SIGXFSZ, SIG_IGN);
    ::setrlimit(RLIMIT_FSIZE, &small);
    std::string message;
    try {
        log.write("{\"step\":1,\"loss\":0.5}");
    } catch (const Error& error) {
        message = error.what();
    }
    ::setrlimit(RLIMIT_FSIZE, &before);
    ::signal(SIGXFSZ, SIG_DFL);
    EXPECT_NE(message.find(path), std::string::npos) << message;
    remove_tree(path);
}

TEST(Progress, LineTellsRateAndTimeLeft) {
    EXPECT_EQ(progress_line("sft", "steps", 0, 0, 100, 0, ""),
              "sft [....................] 0/100 steps");
    EXPECT_EQ(progress_line("sft", "steps", 0, 25, 100, 10, "loss 1.5"),
              "sft [#####...............] 25/100 steps  2.5 steps/s  0:30 left  loss 1.5");
    // a resumed run: the 20 steps that were there when it began do not count
    EXPECT_EQ(progress_line("sft", "steps", 20, 25, 100, 10, ""),
              "sft [#####...............] 25/100 steps  2 s each  2:30 left");
    EXPECT_EQ(progress_line("sft", "steps", 0, 100, 100, 3600, ""),
              "sft [####################] 100/100 steps  36 s each  in 1:00:00");
}
