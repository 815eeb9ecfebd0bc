#pragma once
// What rlhf simulate is given: a cluster, the work of a run on it, and how they change. Everything that
// it says comes from dist/placement.h played with these numbers; nothing is measured here.

#include "base/config.h"
#include "dist/chooser.h"

struct LengthsConfig { // of texts, tokens, log-normal
    double mean, sigma, growth;
    int longest;
    void visit(Fields& v);
};

struct SimulateConfig {
    int devices = 256, iterations = 20, answers_per_device = 16, answers = 8, texts = 1;
    int prompt_tokens = 100, slots = 48, max_waves = 10;
    int64_t seed = 1;
    DecodeCost generate, judge;
    double swap = 4, ticket = 0, train_token = 1.4e-4, update = 0.5, noise = 0.05;
    LengthsConfig answer{400, 1, 2.5, 8192}, judge_text{300, 0.7, 0.6, 4096};
    double valid_share = 0.75, valid_share_end = 0.38, oversample = 1.2;
    int dwell = 1;
    double gain = 0.03;
    std::string run, out, html, validation;
    bool curves = false, emulate = false, controllers = false;
    void visit(Fields& v);
};

// A run to be simulated.
struct Cluster {
    Demand demand;
    Costs costs;
    SimulateConfig config;
    LengthHistogram answer{}; // of config.run, in the place of the configured lengths; else empty
    explicit Cluster(const SimulateConfig& config);
    // Iteration 0 .. iterations-1, as it comes out. valid_share: what is expected of the groups.
    IterationWork work(int iteration, double valid_share) const;
    // What is known before the first iteration: the costs, as well as they can be measured, and lengths as
    // they are configured, which those of the first iteration are not.
    Measured expected() const;
};

// Share of the groups that were drawn and teach something.
double valid_of(const IterationWork& work, const Iteration& played);

// A way to place roles, over a run. split_fixed: the same eighths in all iterations, the best for the run.
// split_best: the best of each iteration, known beforehand: a bound, not a policy. split_busy: moves by 1/32
// to the role that is busy for a larger share of its time. auto_: the chooser.
enum class Scheme { share, split_half, split_fixed, split_best, split_busy, fluid, auto_ };
constexpr int scheme_count = 7;
extern const char* const scheme_names[scheme_count];
// Of these the best is what the chooser is measured by: one layout for the whole run.
constexpr bool is_fixed(Scheme scheme) {
    return scheme == Scheme::share || scheme == Scheme::split_half ||
           scheme == Scheme::split_fixed || scheme == Scheme::fluid;
}

struct SchemeIteration {
    RoleLayout layout;
    Iteration played;
    double predicted = 0; // auto; 0: it was not
    std::string why{};    // auto, of the next layout
};
// seconds and spent, over iterations.
struct SchemeTotals {
    double seconds = 0, waves = 0;
    Spent spent;
    double occupied_share = 0;
    int moves = 0;
    double idle_share() const { return spent.idle() / spent.total(); }
};

std::vector<SchemeIteration> simulate(const Cluster& cluster, Scheme scheme);
// One layout in all iterations.
std::vector<SchemeIteration> simulate(const Cluster& cluster, const RoleLayout& layout);
SchemeTotals totals(const Cluster& cluster, const std::vector<SchemeIteration>& iterations);
// An iteration as a row of JSON; every one of a simulation says so.
Json iteration_row(const char* scheme, int iteration, const SchemeIteration& row);
