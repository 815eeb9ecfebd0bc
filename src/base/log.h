#pragma once
// What a run says: metrics as JSON Lines in a file, and progress for whoever watches.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

// metrics.jsonl: one JSON object per line, handed to the system at once, so that a killed run loses none.
struct MetricsLog {
    MetricsLog() = default;
    MetricsLog(const MetricsLog&) = delete;
    ~MetricsLog();
    // Keeps the lines whose "step" is at most `last_step` and appends after them. A last line that was
    // cut off by a crash goes, too.
    void open(const std::string& path, int64_t last_step);
    void write(const std::string& line); // without its newline
    void sync();                         // to the disk

private:
    std::string path;
    FILE* file = nullptr;
};

// Progress on standard error: one line that rewrites itself on a terminal, with rate and time left;
// elsewhere plain lines, at most one in ten seconds beside the first and the last.
struct Progress {
    // done: where a resumed run begins; rate and time left count from there.
    Progress(std::string name, std::string unit, int64_t total, int64_t done = 0);
    Progress(const Progress&) = delete;
    ~Progress();
    void update(int64_t done, const std::string& note = "");
    // A message of its own line, the bar staying below it.
    void message(const std::string& text);

    bool terminal;

private:
    std::string name, unit;
    int64_t total, first;
    bool shown = false, line_open = false;
    std::chrono::steady_clock::time_point start, last;
};

// "sft [##..................] 120/1000 steps  2.5 steps/s  5:52 left  loss 1.234"; seconds: since `first`.
std::string progress_line(const std::string& name, const std::string& unit, int64_t first,
                          int64_t done, int64_t total, double seconds, const std::string& note);
std::string duration_text(double seconds); // "0:07", "12:30", "3:05:00"
