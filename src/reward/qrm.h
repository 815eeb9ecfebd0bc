#pragma once
// Q-RM, the discriminative policy [Chen et al. 2025, arXiv 2505.23363; the pair loss of its section
// 3 and Algorithm 1].
//
// A network gives one logit Z(s, a) per state and action. As a policy it would be phi = softmax_a
// Z, and a policy that is optimal in the maximum-entropy sense has beta log phi*(a|s) = Q*(s,a) -
// V*(s): Z* is Q* / beta up to an offset of the state alone. Preferences are Bradley-Terry on the
// mean reward of a trajectory; where the optimal policy is nearly deterministic what remains beside
// the means of Z is replaced by one constant gamma:
//
//   d = beta (mean_t Z^w_t - mean_t Z^l_t) - gamma           N tokens of the chosen, M of the rejected answer
//   L = softplus(-d) = -log sigma(d)
//   dL/dZ^w_t = -sigma(-d) beta / N          dL/dZ^l_t = +sigma(-d) beta / M          (their sum is 0)
//
// No reference, no length term: L does not change when a constant is added to all Z, nor when an
// answer's Z are repeated. At Z = 0 and gamma = 2 it is softplus(2) = 2.1269.
//
// Z comes from one of three heads (reward/reward_model.h): a scalar without bias that has read a_t
// (the paper's code); the logit of a_t in a vocabulary head; or its log-softmax, the authors' later
// variant, which goes with a cross entropy on the K tokens of the chosen answers,
//
//   L += eta / K sum_t -log p(a_t)           dL/dlogp_t += -eta / K
//
// without which nothing holds the actions that were never sampled. That variant is SimPO with an
// SFT term.
//
// Departures: none from the paper's loss. (The paper: beta = 0.2, gamma = 2, a mean over the pairs
// of a step.)

#include <span>

// Of one pair. Writes the derivatives and returns L.
double qrm_loss(std::span<const double> chosen, std::span<const double> rejected, double beta,
                double gamma, std::span<double> dchosen, std::span<double> drejected);

// The anchor on the tokens of one chosen answer, `weight` = eta / K. Adds to the derivatives.
double ce_anchor(std::span<const double> logp, double weight, std::span<double> dlogp);
