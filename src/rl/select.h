#pragma once
// Station "select": which completions and which tokens enter the update. D3S [Dynamic dual-level
// down-sampling, 2025, arXiv 2509.22115] and what it is compared with.
//
// Completions, after the advantages of all are known and without normalising them again:
//   all                 everything
//   intra               per prompt the N_s that maximise Var(A)
//   cross               round(N_s * prompts) of the batch that maximise Var(A)  (the paper's)
//   intra_then_cross    intra with keep_samples_intra, then cross on what is left
//   pods                per prompt the N_s that maximise Var(R); A is made anew from the kept,
//                       with the unbiased std + 1e-6                    [Xu et al. 2025, PODS]
//   cppo                per prompt the N_s of largest |A|               [Lin et al. 2025, CPPO]
//   random              per prompt N_s at random: the control
// drop_zero then takes out completions with A = 0 on all tokens, drop_truncated those that reached
// the length limit (DAPO's overlong filtering), after tokens were ranked.
//
// before_judging: models that judge cost more than answers. The completions are chosen before station 3, by
// the advantages that the task's rule alone would give; judges that write are asked of the kept ones, and
// credit and advantages are of these. A prompt whose answers the rule cannot tell apart is kept by index.
//
// Tokens of the kept completions: the n = max(1, ceil(K M)) largest keys of the M in the pool (the
// batch or each completion), key = |A_it| H_it or H_it; a key of 0 is never kept; K = 1 keeps
// everything.
//
// Schedule: N_s and K go from start to end with the progress p in [0, 1] of the run:
//   linear (1-p) start + p end,   cosine the same with p -> (1 - cos(pi p))/2,
//   step: end from p = 1/2.
//
// Departures from the paper (of which no code is public): N_s is rounded and clamped to 2 .. G as
// its notes say; zero advantages can be dropped; entropies are those of the policy that made
// logp_old, so that the choice is made once per batch and does not depend on micro-batches.

#include "rl/algo_config.h"

enum class SelectMode { all, intra, cross, intra_then_cross, pods, cppo, random };
enum class TokenKey { abs_adv_entropy, entropy, none };
enum class TokenScope { batch, response };
enum class Schedule { linear, cosine, step };

struct SelectConfig {
    SelectMode mode = SelectMode::all;
    std::vector<double> keep_samples, keep_samples_intra, keep_tokens{1, 1};
    TokenKey token_key = TokenKey::abs_adv_entropy;
    TokenScope scope = TokenScope::batch;
    Denominator denominator = Denominator::of_aggregation;
    Schedule schedule = Schedule::linear;
    bool drop_zero = false, drop_truncated = false, before_judging = false;
    double progress = 0;
    int64_t seed = 0;
    void visit(Fields& v);
};

// The same at a step of a run of so many: progress p = (step - 1) / (steps - 1).
SelectConfig at_step(SelectConfig select, int64_t step, int64_t steps);

// step: of the run, for mode random.
// chosen (I): the completions, where they were chosen before; empty: by A.
Selection select(const Rollouts& rollouts, const Advantages& A, const AlgoConfig& algo,
                 const SelectConfig& select, int64_t step = 0,
                 std::span<const uint8_t> chosen = {});

// (I) 1: kept, by the mode and the advantages of what the task's rule says (I).
std::vector<uint8_t> chosen_by_rule(const Rollouts& drawn, std::span<const double> rule,
                                    const AlgoConfig& algo, const SelectConfig& select,
                                    int64_t step);

const char* name_of(SelectMode mode);

// Errors for what no single field can say.
void check_select(const SelectConfig& select);
// Whether it reads entropies (at its progress).
bool needs_entropy(const SelectConfig& select);

// start -> end at progress p; one number is constant.
double scheduled(const std::vector<double>& range, Schedule schedule, double progress);

// Indices (increasing) of the m elements with the largest variance. Some optimum is {k largest} u
// {m - k smallest}: as a function of one chosen element the variance is a convex parabola, so
// moving the element outward never lowers it. Sort, prefix sums, try every k: O(n log n). Ties in
// value go by index; of equal variances (1e-12, relative) the smallest k.
std::vector<int> max_variance_subset(std::span<const double> a, int m);

// Share of the tokens trained over a whole run, both schedules linear, n = N_s / G from n0 to n1
// and K from k0 to k1: the integral of n(p) K(p).
double mean_trained_share(double n0, double n1, double k0, double k1);
