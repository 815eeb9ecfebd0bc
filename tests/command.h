#pragma once
// Runs the binary as a user does: arguments in; exit status, standard output and standard error out. The
// environment variable RLHF names it (the Makefile sets it), build/rlhf by default.

#include "base/file.h"
#include "base/json.h"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct Outcome {
    int status = -1; // exit status; 128 + signal when it was killed
    std::string out, err;
};

// A directory of the test's own, empty at first and removed at the end.
struct Scratch {
    std::string path;
    Scratch() {
        const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
        path = testing::TempDir() + test->test_suite_name() + test->name() +
               std::to_string(::getpid());
        remove_tree(path);
        make_directories(path);
    }
    ~Scratch() { remove_tree(path); }
    std::string operator()(const std::string& name) const { return join_path(path, name); }
};

struct Command {
    pid_t pid = -1;
    std::string files; // standard output and error go to files + "out", files + "err"

    // largest_file: bytes any file may grow to, a disk that is nearly full.
    Command(const std::vector<std::string>& words, int64_t largest_file = -1) {
        static int count = 0;
        files = testing::TempDir() + "command" + std::to_string(::getpid()) + "_" +
                std::to_string(count++) + ".";
        const char* named = std::getenv("RLHF");
        std::string binary = named ? named : "build/rlhf";
        std::vector<char*> argv = {binary.data()};
        for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
        argv.push_back(nullptr);
        int out = open_file("out"), err = open_file("err");
        pid = ::fork();
        if (pid != 0) {
            ::close(out), ::close(err);
            return;
        }
        ::dup2(out, STDOUT_FILENO), ::dup2(err, STDERR_FILENO);
        if (largest_file >= 0) {
            ::signal(SIGXFSZ, SIG_IGN); // writing then fails as on a full disk, instead of a signal
            rlimit limit{(rlim_t)largest_file, (rlim_t)largest_file};
            ::setrlimit(RLIMIT_FSIZE, &limit);
        }
        ::execv(binary.c_str(), argv.data());
        ::_exit(127);
    }
    int open_file(const char* name) const {
        return ::open((files + name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    }
    Outcome wait() {
        Outcome outcome;
        int state = 0;
        ::waitpid(pid, &state, 0);
        outcome.status = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
        outcome.out = read_file(files + "out"), outcome.err = read_file(files + "err");
        remove_tree(files + "out"), remove_tree(files + "err");
        return outcome;
    }
};

inline Outcome rlhf(const std::vector<std::string>& words, int64_t largest_file = -1) {
    return Command(words, largest_file).wait();
}

using Words = std::vector<std::string>;
inline Words operator+(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

// A supervised run of the arithmetic task with a model so small that a step takes a millisecond.
inline const Words tiny_sft = {"sft",
                               "task.name=arithmetic",
                               "task.arithmetic.steps_max=2",
                               "tiny.layers=1",
                               "tiny.width=16",
                               "tiny.heads=2",
                               "tiny.feed_forward=24",
                               "optim.lr=0.01",
                               "compute.threads=1"};

inline std::vector<Json> rows_of(const std::string& path) {
    std::vector<Json> rows;
    for_each_row(path, [&](const Json& row, const std::string&) { rows.push_back(row); });
    return rows;
}

inline bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

// One clear message on standard error, exit status 1, and all of the parts in the message.
inline void expect_refusal(const Outcome& outcome, std::initializer_list<const char*> parts) {
    EXPECT_EQ(outcome.status, 1) << outcome.err;
    size_t at = outcome.err.find("error: ");
    EXPECT_NE(at, std::string::npos) << outcome.err;
    for (const char* part : parts)
        EXPECT_TRUE(contains(outcome.err, part)) << "no \"" << part << "\" in: " << outcome.err;
}
