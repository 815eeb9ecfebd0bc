#pragma once
// Station "advantage": rewards -> A per token. A pipeline of four steps (AdvantageConfig chooses in
// each):
//
//   1. R_i      reward, + overlong penalty, - beta sum_t k_it (kl_in=reward, estimator outcome),
//               k = logp_old - logp_ref (kl=k1) or its absolute value (abs)
//   2. R'_i   = (R_i - b) / (sigma + std_eps), baseline b and std sigma over the completions of the
//               prompt (group_mean, leave_one_out) or the batch (batch_mean, ema); own: as the
//               algorithm's file says
//   3. outcome        A_it = R'_i
//      reward_to_go   A_it = sum_{s >= t} gamma^(s-t) rho_is
//      gae            delta_t = rho_t + gamma V_{t+1} - V_t,  A_t = delta_t + gamma lambda A_{t+1},
//                     ret_t = A_t + V_t,  V = value_old, 0 after the last token
//      group_tokens   A_it = (R_it - mean) / (sigma + std_eps) over all tokens of the prompt,
//                     R_it = R_i + credit_weight credit_it                     [CAPO, eq. 2]
//      token          A_it = ret_it - value_weight V_it,  V = value_old (over its deviation:
//                     scale_value),
//                     ret_it = R'_i + credit_weight credit_it - beta k_it (kl_in=reward)
//                                                                          [Q-RM, alg. 1]
//      with rho_it  = [t last] R'_i - beta k_it (kl_in=reward) + credit_weight credit_it
//   4. whiten         (A - mean) / sqrt(var + whiten_eps) over all tokens;  clip: |A| <= clip
//
// Where credit goes to segments (estimator outcome), step 2 is of R_i + c_is over the prompt's
// segments instead, by segment_pool, and A_it is its segment's (rl/units.h). A completion that a
// credit source failed on leaves all of it and has A = 0. With combine = sum_of_normalised the
// steps are done for each source alone, over the completions, segments or tokens that it goes to,
// and A = sum of weight times A of the source.
//
// A prompt with one completion, or whose R_i are all equal, has A = 0 exactly where b and sigma are
// the prompt's and A is the outcome's, whitened or not; it is counted.

#include "rl/algorithms.h"

// ema: what baseline=ema was after the batch before; Advantages::ema is what it is after this one.
Advantages advantages(const Rollouts& rollouts, const AlgoConfig& algo, double ema);
// The first batch: the moving average starts at algo.advantage.ema.
Advantages advantages(const Rollouts& rollouts, const AlgoConfig& algo);

// PODS: A = (R - mean) / (unbiased std + 1e-6) over the kept completions (I) of the prompt; 0 for
// the others.
Advantages advantages_of_kept(const Rollouts& rollouts, const AlgoConfig& algo,
                              std::span<const uint8_t> kept, Advantages before);

// Step 1: R (I).
std::vector<double> shaped_rewards(const Rollouts& rollouts, const AlgoConfig& algo);

// (x - mean) / (std + eps) of a set, exactly 0 if all are equal.
std::vector<double> normalise(std::span<const double> x, Std std, double eps);
// x_i - mean of the others; 0 for a set of one or of equals.
std::vector<double> leave_one_out(std::span<const double> x);
// GAE of one completion; writes A and ret (each of rho's length).
void gae(std::span<double> advantage, std::span<double> ret, std::span<const double> rho,
         std::span<const double> value_old, double gamma, double lambda);
// In place over all tokens. unbiased: variance with n - 1.
void whiten(std::span<double> advantage, bool unbiased, double eps);

// Whether rewards differ: a prompt without this teaches nothing (DAPO's dynamic sampling).
bool has_signal(std::span<const double> rewards);

// The completions i of each prompt.
std::vector<std::vector<int>> completions_by_group(const Rollouts& rollouts);
