#pragma once
// From tokens to one number: the weight w of each token in the loss, fixed for the whole optimiser
// step before micro-batches are cut. m_it = 1 on the tokens a term stands on, T_i = sum_t m_it,
// sums over the kept completions of the step:
//
//   aggregation               w_it
//   seq_mean_token_mean       m_it / (I T_i), I = completions with T_i > 0   GRPO, GSPO, CAPO
//   token_mean                m_it / sum_j T_j                                DAPO, verl, TRL
//   seq_mean_token_sum        m_it / I, I = kept completions                  REINFORCE, RLOO
//   seq_mean_token_sum_norm   m_it / (I L), L = algo.max_length_norm          Dr. GRPO
//   group_mean_token_mean     m_it / (B sum of the prompt's T_j)             nanochat; B: with a token
//
// select.denominator, where it is given, takes the place of the first two (D3S section 1.6):
// kept_tokens is token_mean, per_sequence is seq_mean_token_mean, all_selected_tokens is
//
//   all_tokens                m_it / sum_j |o_j|
//
// The sums keep their own weight whatever the denominator.

#include "rl/algorithms.h"

// What select.denominator makes of algo.aggregation.
Aggregation with_denominator(Aggregation aggregation, Denominator denominator);

// Both weights of an optimiser step on these completions alone (a minibatch); those that are not
// kept have none.
Weights weigh(const Rollouts& rollouts, const Selection& kept, const AlgoConfig& algo,
              Denominator denominator, std::span<const int> completions);
// Of a step on the whole batch.
Weights weigh(const Rollouts& rollouts, const Selection& kept, const AlgoConfig& algo,
              Denominator denominator);
