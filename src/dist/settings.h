#pragma once
// The keys dist.*: a run of several processes.

#include "base/config.h"

struct DistSettings {
    int determinism = 1;
    void visit(Fields& v) {
        v.field("determinism", determinism, 0, 2,
                "what is the same bits when a run is repeated or goes on; 0: nothing is promised, "
                "1: with the same number of processes, 2: with any number of them (on the CPU; each "
                "prompt's or row's gradient by itself and summed in integers, which costs time and "
                "16 bytes per parameter)");
    }
};
