#include "dist/watchdog.h"

#include "base/beat.h"
#include "base/clock.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <unistd.h>
#include <vector>

constexpr int silence_status = 75;

Watchdog::Watchdog(std::span<Pulse> pulses_, int place, int rank_, int ranks_, double seconds_)
    : pulses(pulses_), own(pulses_[place]), rank(rank_), ranks(ranks_), seconds(seconds_) {
    own.rank = rank;
    own.process = ::getpid();
    thread = std::thread([this] { watch(); });
}

Watchdog::~Watchdog() {
    ends = true;
    thread.join();
    own.process = 0; // nobody waits for it any more
}

std::string of_ticket(int ticket) {
    return ticket > 0 ? ", last ticket " + std::to_string(ticket - 1) : "";
}

static void report(const Pulse& silent, int ranks, double seconds, int by) {
    char host[256] = "?";
    ::gethostname(host, sizeof host - 1);
    std::fprintf(
        stderr,
        "error: rank %d of %d on %s (process %d) has not gone on for %.0f s, at %s%s; rank "
        "%d ends the run (dist.watchdog_seconds=%.6g). Start it again with "
        "run.resume=true; a longer silence than that is allowed by a larger value\n",
        silent.rank.load(), ranks, host, silent.process.load(), seconds, silent.phase,
        of_ticket(silent.ticket).c_str(), by, seconds);
    std::fflush(stderr);
}

void Watchdog::watch() {
    struct Seen {
        uint64_t beats = 0;
        double since = 0;
    };
    std::vector<Seen> seen(pulses.size(), {0, now()});
    const double pause = std::min(0.1, seconds / 8);
    for (double before = now(); !ends; before = now()) {
        const char* phase = current_phase.load();
        std::strncpy(own.phase, phase, sizeof own.phase - 1);
        own.ticket = last_ticket.load();
        own.beats = heart_beats.load();
        ::usleep((useconds_t)(pause * 1e6));
        // This process itself was stopped or starved: what it has not seen says nothing of the others.
        const bool slept = now() - before > seconds / 2;
        for (size_t i = 0; i < pulses.size(); ++i) {
            const uint64_t beats = pulses[i].beats;
            const bool watched = pulses[i].process && std::strcmp(pulses[i].phase, "start") != 0;
            if (slept || !watched || beats != seen[i].beats) {
                seen[i] = {beats, now()};
                continue;
            }
            if (now() - seen[i].since < seconds) continue;
            if (pulses[i].told.exchange(1) == 0) {
                report(pulses[i], ranks, now() - seen[i].since, rank);
                ::_exit(silence_status); // mpirun ends the others
            }
        }
    }
}
