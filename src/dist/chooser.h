#pragma once
// Which layout the next iteration has. Every rank decides by itself from the same numbers, those of all
// ranks together, so that nobody has to be asked and nobody can disagree; a hash of the decision is
// compared all the same.

#include "base/json.h"
#include "dist/placement.h"

// What was measured, of all ranks.
struct Measured {
    Costs costs;
    LengthHistogram answer, judge; // lengths of an iteration
    double valid_share = 1;        // of the groups: what the size of a wave goes by
    double valid_lately = 1;       // in the last iteration: what is expected of the next one
    Json json() const;
    static Measured read(const Json& row);
};

// What an iteration has to do, apart from lengths.
struct Demand {
    int ranks = 1, answers = 8, texts = 1, prompt_tokens = 0;
    int target = 0; // groups
    double oversample = 1;
    int max_waves = 1;
    int replica = 1; // ranks that hold one model together: the roles of a split are multiples of it
    Json json() const;
    static Demand read(const Json& row);
};

// The work that these lengths lead one to expect: quantiles in a fixed order, valid groups evenly.
IterationWork expected_work(const Measured& measured, const Demand& demand);
// Groups of a wave for each one that is missing; 1 where oversample is.
double expansion(double valid_share, double oversample);

struct Candidate {
    RoleLayout layout;
    double seconds; // predicted
};
// share, fluid and splits, best first.
std::vector<Candidate> predict(const Costs& costs, const IterationWork& work, const Demand& demand);

struct ChooserSettings {
    double gain = 0.03; // what a change must promise, of the present layout's time
    int dwell = 1; // iterations that a layout stays at least; the first one may be left at once
    // A prediction is wrong that is farther off than this share, made before the iteration and, since
    // lengths and waves may have been others than expected, from what was measured in it;
    double wrong = 0.2;
    int wrong_times = 3; // so many in a row end in `share`, for
    int rest = 10;       // iterations
};

struct Decision {
    RoleLayout layout;
    double predicted = 0;              // seconds; 0: nothing was predicted
    std::vector<Candidate> candidates; // best first
    std::string why;
    uint64_t hash() const; // of the layout and the predictions
    Json json() const;
};

struct Chooser {
    ChooserSettings settings{};
    // What it remembers.
    RoleLayout layout{};
    double predicted = 0; // of the iteration that runs
    int lasted = 1000000, wrong_in_a_row = 0, resting = 0;

    // Before the first iteration: the best by what is expected. Its seconds are nobody's measurement,
    // so that they count for no prediction.
    Decision begin(const Measured& expected, const Demand& demand);
    // After an iteration of `seconds`: the layout of the next one.
    Decision decide(const Measured& measured, const Demand& demand, double seconds);
    Json state() const;
    void restore(const Json& state);
};
