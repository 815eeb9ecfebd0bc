#pragma once
// The keys dist.*: a run of several processes.

#include "base/config.h"

struct DistSettings {
    int determinism = 1;
    double watchdog_seconds = 300, oversample = 1;
    std::string placement = "share", surplus = "drop";
    int generate_ranks = 0;
    bool tickets = false;
    // Who does what is found out while it is done; else every rank knows beforehand.
    bool draws() const { return tickets || placement != "share"; }
    void visit(Fields& v) {
        v.field(
            "determinism", determinism, 0, 2,
            "what is the same bits when a run is repeated or goes on; 0: nothing is promised, "
            "1: with the same number of processes, 2: with any number of them (on the CPU; each "
            "prompt's or row's gradient by itself and summed in integers, which costs time and "
            "16 bytes per parameter)");
        v.field("watchdog_seconds", watchdog_seconds, 0, 1e6,
                "the longest that a rank may be silent (between two micro-batches, decode steps or "
                "pieces of a file) before the run ends with status 75; 0: for ever");
        v.field("oversample", oversample, 1, 10,
                "dynamic sampling (train.max_rounds above 1): above 1, a round asks for so many "
                "times the missing prompts over the share of prompts that taught something so far; "
                "what is valid beyond the quota is surplus, the last prompts first. 1: as many as "
                "are missing");
        v.choice(
            "surplus", surplus, {"drop", "keep"},
            "what becomes of it; drop: every step is on-policy; keep: it is the next step's, one "
            "version old, with the log-probabilities it was drawn with");
        v.choice(
            "placement", placement, {"share", "split", "fluid", "auto"},
            "rl with a model that judges; share: all ranks generate, then all judge; split: "
            "dist.generate_ranks generate while the others judge; fluid: a rank judges when it "
            "has nothing to generate; auto: what the last steps' times predict to be fastest. "
            "What comes out is the same");
        v.field("generate_ranks", generate_ranks, 0, 1e5,
                "of placement=split; 0: half of the ranks");
        v.field("tickets", tickets,
                "prompts are drawn by whoever is free, longest first, instead of being dealt out "
                "beforehand; always on but with placement=share");
    }
};
