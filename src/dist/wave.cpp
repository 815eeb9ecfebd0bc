#include "dist/wave.h"

#include "base/beat.h"
#include "base/check.h"
#include "dist/watchdog.h"

#include <algorithm>
#include <unistd.h>

Wave::Wave(int rank_, int ranks, int most_groups, size_t bytes_per_group)
    : rank(rank_), most(most_groups), board(first_entry + (int64_t)most_groups * entry_numbers,
                                            (size_t)most_groups * bytes_per_group),
      tickets(board, next, machines) {
    CHECK(board.works(ranks), "tickets do not arrive: the ranks cannot add to a number of the "
                              "first one's. Use dist.placement=share with dist.tickets=false");
}

void Wave::begin(int count, const std::function<void()>& wait) {
    CHECK(count <= most, "a wave of %d groups on a board for %d", count, most);
    groups = count, used = 0;
    wait(); // nobody reads any more what the last wave left
    if (rank == 0) {
        for (int64_t place = next; place < first_entry; ++place) board.write(place, 0);
        for (int64_t slot = 0; slot < groups; ++slot) board.write(entry(slot) + 3, 0);
    }
    tickets.begin(count);
    wait();
}

int Wave::draw() {
    const int ticket = tickets.draw();
    last_ticket = ticket + 1;
    return ticket;
}

int Wave::tickets_left() { return tickets.left(); }

void Wave::generated(int group, const std::string& message) {
    board.show(used, message);
    const int64_t at = entry(board.add(tail, 1));
    board.write(at, rank), board.write(at + 1, (int64_t)used);
    board.write(at + 2, (int64_t)message.size());
    board.write(at + 3, group + 1); // the last: whoever sees it sees the rest
    used += message.size();
    board.add(whole, 1);
}

bool Wave::offered() { return board.read(head) < board.read(tail); }

int Wave::groups_to_take() { return groups - (int)board.read(head); }

Wave::Taken Wave::take() {
    for (;;) {
        const int64_t slot = board.read(head);
        if (slot >= board.read(tail)) return {};
        if (!board.exchange(head, slot, slot + 1)) continue; // somebody else was first
        const int64_t at = entry(slot);
        int64_t group = 0;
        while ((group = board.read(at + 3)) == 0) { // its writer is at it
            board.progress();
            beat();
            ::usleep(100);
        }
        const int from = (int)board.read(at);
        return {(int)group - 1,
                board.bytes_of(from, (size_t)board.read(at + 1), (size_t)board.read(at + 2))};
    }
}

void Wave::judged() { board.add(done, 1); }
bool Wave::all_generated() { return board.read(whole) >= groups; }
bool Wave::all_taken() { return board.read(head) >= groups; }
bool Wave::all_judged() { return board.read(done) >= groups; }
