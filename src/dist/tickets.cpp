#include "dist/tickets.h"

#include "base/beat.h"
#include "dist/processes.h"

#include <algorithm>
#include <unistd.h>

static uint64_t range_of(int64_t begin, int64_t end) {
    return (uint64_t)end << 32 | (uint64_t)begin;
}
static int64_t begin_of(uint64_t range) { return (int64_t)(range & 0xffffffff); }
static int64_t end_of(uint64_t range) { return (int64_t)(range >> 32); }

Tickets::Tickets(Board& board_, int64_t next_, int64_t machines_)
    : board(board_), next(next_), machines(machines_),
      shared(static_cast<Shared*>(shared_memory(sizeof(Shared)))) {
    static_assert(std::atomic<uint64_t>::is_always_lock_free); // and so of use between processes
    if (this_process().local_rank == 0) board.add(machines, 1);
}

void Tickets::begin(int count_) {
    count = count_;
    if (this_process().local_rank == 0) shared->range = 0;
}

bool Tickets::fetch() {
    const int64_t all = std::max<int64_t>(1, board.read(machines));
    for (;;) {
        const int64_t begin = board.read(next);
        if (begin >= count) return false;
        const int64_t end = begin + std::max<int64_t>(1, (count - begin) / (2 * all));
        if (!board.exchange(next, begin, end)) continue; // another machine was first
        shared->range = range_of(begin, end);
        return true;
    }
}

int Tickets::draw() {
    for (;;) {
        uint64_t range = shared->range;
        if (begin_of(range) < end_of(range)) {
            if (shared->range.compare_exchange_weak(range, range + 1)) return (int)begin_of(range);
            continue;
        }
        if (shared->fetching.exchange(1) == 0) {
            range = shared->range; // another has fetched in the meantime?
            const bool more = begin_of(range) < end_of(range) || fetch();
            shared->fetching = 0;
            if (!more) return -1;
            continue;
        }
        // Who fetches may wait for this rank, if it keeps the counter.
        board.progress();
        beat();
        ::usleep(20);
    }
}

int Tickets::left() const {
    const uint64_t range = shared->range;
    return std::max(0, count - (int)board.read(next)) + (int)(end_of(range) - begin_of(range));
}
