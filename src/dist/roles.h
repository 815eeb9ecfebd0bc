#pragma once
// Who generates and who judges, for real: the layouts of dist/placement.h on ranks that hold both
// models. A rank draws tickets, gives a group to the judges as soon as it is whole, and judges what is
// there. What comes out does not depend on who did what.

#include "dist/placement.h"
#include "dist/timeline.h"
#include "dist/wave.h"
#include "ops/collectives.h"

struct RoleWork {
    using Whole = std::function<void(int group, const std::string& message)>;
    // Generates these groups; `whole` is called once for each, with what a judge has to know of it.
    std::function<void(const std::vector<int>& groups, const Whole& whole)> generate;
    std::function<void(const std::vector<Wave::Taken>& groups)> judge; // empty: nobody does
    int most_at_once = 1; // groups of one call of generate
};

struct Roles {
    // All ranks together, here and in play(). most_groups: of a wave.
    Roles(const Collectives& ranks, int most_groups, size_t bytes_per_group);
    // Groups 0 .. groups-1; returns when all are generated and judged. This rank's seconds: generate and
    // judge, and the waits tail, queue and barrier.
    Spent play(const RoleLayout& layout, int groups, const RoleWork& work, Timeline& timeline);
    void progress() { wave.progress(); } // by whoever generates or judges, with each decode step

private:
    const Collectives& ranks;
    Wave wave;
};
