#pragma once
// An iteration played by the ranks of this run, with the rules of dist/placement.h and real tickets, but
// with devices that do nothing: a rank waits as long as its device would work. Ranks that wait do not
// compete for cores, so that many show on few cores what they would do on devices of their own.

#include "dist/experience.h"
#include "dist/wave.h"

struct Emulator {
    // All ranks together, here and in play(). most_groups: of a wave.
    Emulator(const Collectives& ranks, int most_groups);
    // Seconds as they were measured, from the first rank's begin to its end. own: what this rank
    // learnt.
    Iteration play(const Costs& costs, const IterationWork& work, const RoleLayout& layout,
                   Experience* own = nullptr);

private:
    const Collectives& ranks;
    Wave wave;
};
