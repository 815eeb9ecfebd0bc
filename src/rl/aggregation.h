#pragma once
// From tokens to one number: the weight w of each token in the loss, fixed for the whole optimiser step
// before micro-batches are cut. m_it = 1 on the tokens a term stands on, T_i = sum_t m_it, sums over the kept
// completions of the step:
//
//   aggregation               w_it
//   seq_mean_token_mean       m_it / (I T_i), I = completions with T_i > 0   GRPO, GSPO, CAPO
//   token_mean                m_it / sum_j T_j                                DAPO, verl, TRL
//   seq_mean_token_sum        m_it / I, I = kept completions                  REINFORCE, RLOO
//   seq_mean_token_sum_norm   m_it / (I L), L = algo.max_length_norm          Dr. GRPO
//   group_mean_token_mean     m_it / (B sum of T_j over the prompt's)         nanochat; B = prompts with a token
//
// select.denominator, where it is given, takes the place of the first two (D3S section 1.6): kept_tokens is
// token_mean, per_sequence is seq_mean_token_mean, all_selected_tokens is
//
//   all_tokens                m_it / sum_j |o_j|
//
// The sums keep their own weight whatever the denominator.

#include "rl/algorithms.h"

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

// Both weights of an optimiser step on these completions alone (a minibatch); those that are not kept have none.
Weights weigh(const Rollouts& rollouts, const Selection& kept, const AlgoConfig& algo,
              const std::string& denominator, std::span<const int> completions);
// Of a step on the whole batch.
Weights weigh(const Rollouts& rollouts, const Selection& kept, const AlgoConfig& algo,
              const std::string& denominator);
