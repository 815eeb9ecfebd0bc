#pragma once
// What is compared with what: completions, their segments or their tokens, each relative to those
// of its prompt.

#include "rl/algo_config.h"

// (x - b) / (sigma + std_eps) over one set, b and sigma as the choice says; exactly 0 where all are
// equal (except against a moving average), and where the deviation is below std_floor.
std::vector<double> relative_to_set(std::span<const double> x, const AdvantageConfig& choice,
                                    double ema);

// Whether a completion is compared with those of its prompt, and not with the batch's.
bool baseline_is_the_prompts(const AdvantageConfig& choice);

struct Units {
    std::vector<double> value;       // (U)
    std::vector<int> completion;     // (U) in order
    std::vector<int> index;          // (U) number of the unit in its completion
    std::vector<int64_t> begin, end; // (U) its tokens n
    void add(double x, int i, int number, int64_t first, int64_t last);
};

// R_i + c_is of every segment.
Units segment_units(const Rollouts& rollouts, const std::vector<double>& R);
// R_i + credit_weight c_it of every token.
Units token_units(const Rollouts& rollouts, const std::vector<double>& R, double credit_weight);

// Each unit relative to those of its prompt (of the batch: baselines batch_mean and ema). A prompt
// with one completion: exactly 0. pool:
//   group                    b and sigma over all units
//   per_index                over the units of the same index
//   index_centre_group_std   b over the units of the same index, sigma over all x - b
std::vector<double> relative(const Units& units, const Rollouts& rollouts,
                             const AdvantageConfig& choice, SegmentPool pool, double ema);

// A (N) of segments: each one's on its tokens. Behind a completion's last segment the mean of its
// A, the last one's, or (zero) nothing of what the segments earned: what the completion earned as a
// whole reaches every token.
std::vector<double> segment_advantages(const Rollouts& rollouts, const std::vector<double>& R,
                                       const AdvantageConfig& choice, double ema);
