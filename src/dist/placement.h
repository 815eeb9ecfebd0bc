#pragma once
// Which ranks generate and which judge, and how long an iteration takes then: the one model of costs.
// With measured costs and the lengths that are expected it is the chooser's prediction (dist/chooser.h),
// with lengths that were drawn it is the simulator (rlhf simulate), and dist/emulate.h plays the same
// rules on ranks that really wait.
//
//     one decode step of n texts:   step + sequence n seconds, a token for each
//     one step of training:         train_token max(tokens / ranks, longest text) + update seconds
//
// A device draws a ticket (a prompt with all its answers) between two decode steps, one at a time, as
// long as it has free places. A group that is whole goes to the judges at once, who draw it likewise.
// A device has no more in flight than a fair share of the texts. share and fluid: every device generates
// first; with share all change to judging together, with fluid
// each one by itself, when it has nothing to generate and there is something to judge. split: some
// generate, the others judge. Everybody trains. A device holds one model at a time; where both fit, swap
// is 0.

#include "dist/lengths.h"

#include <string>

enum class Placement { share, split, fluid };
extern const char* const placement_names[3];

struct RoleLayout {
    Placement placement = Placement::share;
    int generate = 0; // split: ranks that generate; all but those and `train` judge
    // Above 0: so many ranks do nothing but train, the step before's answers, at the same time as the
    // others generate: staleness 1, another algorithm. The chooser does not take it.
    int train = 0;
    bool operator==(const RoleLayout&) const = default;
    std::string name() const; // "share", "split 6", "fluid, 2 train"
};

struct DecodeCost { // seconds
    double step = 0.008, sequence = 0.00012, prompt_token = 0;
};

struct Costs {
    DecodeCost generate, judge;
    int slots = 48;         // texts in flight per device
    double swap = 0;        // seconds to take one model's place with the other
    double ticket = 0;      // seconds to draw one
    double train_token = 0; // seconds per token on one device
    double update = 0;      // seconds: optimiser, weights to who generates
};

// What is there to do in an iteration. Groups are in the order of their tickets.
struct IterationWork {
    int answers = 8; // n: of a group
    int texts = 1;   // that the judge writes of an answer; 0: nobody judges
    int prompt_tokens = 0;
    std::vector<int> length;       // (groups answers)
    std::vector<int> judge_length; // (groups answers texts)
    std::vector<char> valid;       // (groups) teaches something
    // Dynamic sampling: waves of ceil(missing expand) groups each, until `target` are valid.
    int target = 0;
    double expand = 1;
    int max_waves = 1;
    bool tickets = true; // false: groups in equal runs, one to each device that generates

    int groups() const { return (int)valid.size(); }
};

// Seconds, summed over the devices.
struct Spent {
    double generate = 0, judge = 0, train = 0;
    double swap = 0;
    double tail = 0;      // nothing to generate is left, others still generate
    double queue = 0;     // as a judge with nothing to judge, while others still generate
    double barrier = 0;   // everything is drawn, others still judge or swap
    double imbalance = 0; // of training
    double idle() const { return swap + tail + queue + barrier + imbalance; }
    double total() const { return generate + judge + train + idle(); }
};

void add(Spent& sum, const Spent& part);

struct Iteration {
    double seconds = 0;
    Spent spent;
    double occupied = 0; // texts in flight, times seconds: of slots * (spent.generate + judge)
    int waves = 0, issued = 0, accepted = 0;
    int64_t tokens = 0; // that are trained
};

// What a device did, for tests and pictures.
struct DeviceSpan {
    int device;
    const char* what; // "generate", "judge", "swap", "train"
    double begin, end;
};

Iteration play(const Costs& costs, const IterationWork& work, const RoleLayout& layout, int devices,
               std::vector<DeviceSpan>* intervals = nullptr);

// The line through (rounds, tokens, seconds) of several measurements: a measurement of `rounds` decode
// steps that made `tokens` tokens took step * rounds + sequence * tokens. Least squares, neither below
// 0; prompt_token stays 0.
struct DecodeSample {
    double rounds = 0, tokens = 0, seconds = 0;
};
DecodeCost fit_decode(const std::vector<DecodeSample>& samples);
