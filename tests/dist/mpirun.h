#pragma once
// Runs the binary as several processes of this machine. Every start has a time limit, so that a test of
// processes that wait for one another ends, whatever they do.

#include "command.h"

inline const std::string& rlhf_binary() {
    static const char* named = std::getenv("RLHF");
    static const std::string path = named ? named : "build/rlhf";
    return path;
}

// Without Open MPI the binary is one process.
inline bool has_mpi() {
    return std::system(
               ("command -v mpirun > /dev/null && ldd " + rlhf_binary() + " | grep -q libmpi")
                   .c_str()) == 0;
}
#define NEEDS_MPI()                                                                                \
    if (!has_mpi()) GTEST_SKIP() << "there is no mpirun here, or the binary was built without MPI"

inline std::string in_quotes(const std::string& word) {
    std::string text = "'";
    for (char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return text + "'";
}

// The shell's command line. before: variables of the environment, NAME=value; in_each: what each process
// does before it becomes the binary.
inline std::string mpirun_line(int ranks, const std::vector<std::string>& words,
                               const std::string& before = "", int seconds = 120,
                               const std::string& in_each = "") {
    std::string line = "ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 " + before + " timeout -k 5 " +
                       std::to_string(seconds) +
                       " mpirun --allow-run-as-root --oversubscribe --bind-to none -n " +
                       std::to_string(ranks) + " ";
    if (!in_each.empty()) line += "bash -c " + in_quotes(in_each + "; exec \"$0\" \"$@\"") + " ";
    line += in_quotes(rlhf_binary());
    for (const std::string& word : words) line += " " + in_quotes(word);
    return line;
}

inline Outcome run_line(const std::string& line, const std::string& files) {
    const int state = std::system((line + " > " + in_quotes(files + "out") + " 2> " +
                                   in_quotes(files + "err") + " < /dev/null")
                                      .c_str());
    return {WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state), read_file(files + "out"),
            read_file(files + "err")};
}

// ranks = 0: no mpirun.
inline Outcome rlhf_on(int ranks, const Scratch& scratch, const std::vector<std::string>& words) {
    if (ranks == 0) return rlhf(words);
    return run_line(mpirun_line(ranks, words), scratch("mpirun."));
}
