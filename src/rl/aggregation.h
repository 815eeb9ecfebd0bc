#pragma once
// From tokens to one number: the weight w of each token in the loss, fixed for the whole optimiser step
// before micro-batches are cut. m_it = 1 on the tokens a term stands on, N rows, T_i = sum_t m_it:
//
//   aggregation               w_it
//   seq_mean_token_mean       m_it / (N T_i), N = rows with T_i > 0          GRPO, GSPO, CAPO
//   token_mean                m_it / sum_j T_j                                DAPO, verl, TRL
//   seq_mean_token_sum        m_it / N, N = kept rows                         REINFORCE, RLOO
//   seq_mean_token_sum_norm   m_it / (N L), L = algo.max_length_norm          Dr. GRPO
//   group_mean_token_mean     m_it / (B sum of T_j over the prompt's rows)    nanochat; B = prompts with a token
//
// select.denominator, where it is given, takes the place of the first two (D3S section 1.6): kept_tokens is
// token_mean, per_sequence is seq_mean_token_mean, all_selected_tokens is
//
//   all_tokens                m_it / sum_j |o_j|, over kept rows
//
// The sums keep their own weight whatever the denominator.

#include "rl/batch.h"

#include <string>

enum class Aggregation {
    seq_mean_token_mean,
    token_mean,
    seq_mean_token_sum,
    seq_mean_token_sum_norm,
    group_mean_token_mean,
    all_tokens
};

// denominator "": the one that follows the aggregation.
inline Aggregation aggregation_named(const std::string& aggregation,
                                     const std::string& denominator) {
    if (aggregation == "seq_mean_token_sum") return Aggregation::seq_mean_token_sum;
    if (aggregation == "seq_mean_token_sum_norm") return Aggregation::seq_mean_token_sum_norm;
    if (denominator == "kept_tokens") return Aggregation::token_mean;
    if (denominator == "per_sequence") return Aggregation::seq_mean_token_mean;
    if (denominator == "all_selected_tokens") return Aggregation::all_tokens;
    if (aggregation == "group_mean_token_mean") return Aggregation::group_mean_token_mean;
    return aggregation == "token_mean" ? Aggregation::token_mean : Aggregation::seq_mean_token_mean;
}

// Writes w on the tokens of `rows` (the kept rows of one optimiser step). mask: (N), empty: all ones.
inline void aggregation_weights(std::span<double> w, const Rollouts& rollouts,
                                std::span<const int> rows, std::span<const uint8_t> mask,
                                Aggregation kind, double max_length_norm) {
    std::vector<int64_t> count(rows.size());                // T_i
    std::vector<int64_t> group_count(rollouts.groups);      // over the prompt's rows
    int64_t masked = 0, all = 0, live_rows = 0, groups = 0; // over all of them
    for (size_t k = 0; k < rows.size(); ++k) {
        int i = rows[k];
        for (int64_t n = rollouts.offset[i]; n < rollouts.offset[i + 1]; ++n)
            count[k] += mask.empty() || mask[n];
        masked += count[k];
        all += rollouts.length(i);
        live_rows += count[k] > 0;
        group_count[rollouts.group[i]] += count[k];
    }
    for (int64_t tokens : group_count) groups += tokens > 0;
    for (size_t k = 0; k < rows.size(); ++k) {
        int i = rows[k];
        double divisor = 1;
        switch (kind) {
        case Aggregation::seq_mean_token_mean:
            divisor = (double)live_rows * count[k];
            break;
        case Aggregation::token_mean:
            divisor = (double)masked;
            break;
        case Aggregation::seq_mean_token_sum:
            divisor = (double)rows.size();
            break;
        case Aggregation::seq_mean_token_sum_norm:
            divisor = (double)rows.size() * max_length_norm;
            break;
        case Aggregation::group_mean_token_mean:
            divisor = (double)groups * group_count[rollouts.group[i]];
            break;
        case Aggregation::all_tokens:
            divisor = (double)all;
            break;
        }
        for (int64_t n = rollouts.offset[i]; n < rollouts.offset[i + 1]; ++n)
            w[n] = mask.empty() || mask[n] ? 1 / divisor : 0;
    }
}
