#pragma once
// Tickets on two levels: a counter of the job, which machines ask seldom, and one in memory that the
// ranks of a machine share, which costs them nothing. A machine takes
//
//     max(1, what is left / (2 machines))
//
// tickets at once, so that it asks O(log tickets) times and the last ones are dealt out singly. Who finds
// the machine's empty fetches for all of it.

#include "dist/board.h"

#include <atomic>

struct Tickets {
    // All ranks together. next: the job's counter on the board, machines: where the board counts them; both
    // are 0 at first.
    Tickets(Board& board, int64_t next, int64_t machines);
    // By the first rank of every machine, when nobody draws; the job's counter is 0 again.
    void begin(int count);
    int draw();       // 0 .. count-1, each to one rank; -1: none is left
    int left() const; // of the job and of this machine, at this moment

private:
    struct Shared {                  // between the ranks of a machine, zero at first
        std::atomic<uint64_t> range; // next ticket, and above it 32 bits the end
        std::atomic<int> fetching;
    };
    bool fetch();
    Board& board;
    const int64_t next, machines;
    Shared* shared;
    int count = 0;
};
