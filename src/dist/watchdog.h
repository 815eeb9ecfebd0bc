#pragma once
// A rank that has died is noticed by mpirun, which ends the others. One that lives and does not go on
// (stopped, swapped out, in an endless loop, waiting for a device) is noticed by nobody, and its peers
// wait for it in their next collective for ever. So every rank writes its beats (base/beat.h) where the
// others of its machine can read them, and a thread of each reads those of all: whose beats have stood
// still for too long is named, with its phase, and the run ends with the exit status 75. A rank that waits
// for others goes on beating. During the start nobody is watched.

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <thread>

// What the ranks of a machine know of one another; in memory that they share, zero at first.
inline std::atomic<int> last_ticket{0}; // that this process drew, plus 1; 0: none

struct Pulse {
    std::atomic<uint64_t> beats;
    std::atomic<int> rank, process; // process: its id; 0: not there yet
    std::atomic<int> told;          // somebody has told of a silence
    std::atomic<int> ticket;        // as last_ticket
    char phase[32];
};

std::string of_ticket(int ticket); // ", last ticket 7"; empty: none

struct Watchdog {
    // pulses: of the machine's ranks, own: this one's place. seconds: the longest silence.
    Watchdog(std::span<Pulse> pulses, int own, int rank, int ranks, double seconds);
    Watchdog(const Watchdog&) = delete;
    ~Watchdog();

private:
    void watch();
    std::span<Pulse> pulses;
    Pulse& own;
    const int rank, ranks;
    const double seconds;
    std::atomic<bool> ends{false};
    std::thread thread;
};
