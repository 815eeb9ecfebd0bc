#pragma once
// A wave of groups on several ranks: who generates draws tickets, who judges draws what has been
// generated. Each ticket is drawn once, each group judged once, by whoever comes first.

#include "dist/tickets.h"

#include <functional>

struct Wave {
    // Place for this many groups; a group's message has bytes_per_group at most. All ranks together.
    Wave(int rank, int ranks, int most_groups, size_t bytes_per_group);
    // Begins one of `groups` <= most_groups; all ranks together, with `wait` between them.
    void begin(int groups, const std::function<void()>& wait);

    int draw();         // a ticket, 0 .. groups-1, the next one; -1: none is left
    int tickets_left(); // at this moment
    void generated(int group, const std::string& message = "");
    struct Taken {
        int group = -1; // -1: nothing is there at the moment
        std::string message;
    };
    Taken take();         // the oldest of the groups that nobody judges yet
    bool offered();       // whether there is one
    int groups_to_take(); // by now or later
    void judged();        // one more
    bool all_generated();
    bool all_taken();
    bool all_judged();
    // For the others' sake, now and then while this rank computes: over a network what it keeps is read
    // only while it is in the library.
    void progress() { board.progress(); }

    int groups = 0;

private:
    enum Place { machines, next, whole, tail, head, done, first_entry };
    enum { entry_numbers = 4 }; // rank, offset, bytes, group + 1
    int64_t entry(int64_t slot) const { return first_entry + slot * entry_numbers; }
    const int rank, most;
    Board board;
    Tickets tickets;
    size_t used = 0; // of the bytes that this rank shows
};
