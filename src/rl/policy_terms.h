#pragma once
// What policy terms are made of, and those that several algorithms share. The file of each
// algorithm has its formula.
//
// A term is a function of the token; the loop over weighted tokens stands here once:
//
//     sum_over_tokens    L = sum_t w_t L_t                        a value and its derivative
//     sum_of_scores      L = -sum_t sg[w_t factor_t A_t] logp_t   policy gradient, factor stopped

#include "rl/algorithms.h"
#include "rl/surrogate.h"

#include <cmath>

// r_t = pi(o_t) / pi_old(o_t)
inline double token_ratio(const CompletionView& o, size_t t) {
    return std::exp(o.logp[t] - o.logp_old[t]);
}

// s = exp(mean over all tokens of (logp - logp_old)): GSPO's.
inline double sequence_ratio(const CompletionView& o) {
    double sum = 0;
    for (size_t t = 0; t < o.logp.size(); ++t) sum += o.logp[t] - o.logp_old[t];
    return std::exp(sum / (double)o.logp.size());
}

// A of a completion whose tokens share it; where they do not, their mean. first + mean(A - first):
// exact where all are equal.
inline double mean_advantage(const CompletionView& o) {
    if (o.advantage.empty()) return 0;
    double rest = 0;
    for (double A : o.advantage) rest += A - o.advantage[0];
    return o.advantage[0] + rest / (double)o.advantage.size();
}

// PPO's clipped surrogate of a ratio (surrogate.h).
inline TokenTerm clipped_term(double ratio, double A, const AlgoConfig& algo) {
    const Surrogate s =
        clipped_surrogate(ratio, A, algo.clip_eps_low, algo.clip_eps_high, algo.dual_clip);
    return {.loss = s.loss,
            .ratio = ratio,
            .factor = ratio,
            .A = A,
            .gate = s.clipped ? 0.0 : 1.0,
            .clipped = s.clipped};
}

// term(t) -> TokenTerm
template <class F>
double sum_over_tokens(const CompletionView& o, PolicyGrad& grad, const F& term_of) {
    double loss = 0;
    for (size_t t = 0; t < o.logp.size(); ++t) {
        if (o.weight[t] == 0) continue;
        const TokenTerm term = term_of(t);
        loss += o.weight[t] * term.loss;
        // a closed gate is 0, also where the ratio has overflowed
        if (term.gate != 0) grad.dlogp[t] += o.weight[t] * (-term.factor * term.A * term.gate);
        grad.clipped += term.clipped;
        if (grad.terms) (*grad.terms)[t] = term;
    }
    return loss;
}

// term(t) -> TokenTerm, whose loss is not read
template <class F>
double sum_of_scores(const CompletionView& o, PolicyGrad& grad, const F& term_of) {
    double loss = 0;
    for (size_t t = 0; t < o.logp.size(); ++t) {
        if (o.weight[t] == 0) continue;
        const TokenTerm term = term_of(t);
        const double g = -o.weight[t] * term.factor * term.A;
        loss += g * o.logp[t];
        grad.dlogp[t] += g;
        grad.clipped += term.clipped;
        if (grad.terms) (*grad.terms)[t] = term;
    }
    return loss;
}

inline constexpr const char* token_ratio_formula = "r = exp(logp - logp_old)";
inline constexpr const char* sequence_ratio_formula =
    "s = exp(mean of logp - logp_old over the completion)";

// Keys that clipped_term reads.
inline constexpr const char* clip_keys[] = {"clip_eps_low", "clip_eps_high", "dual_clip"};

// The words of PPO's clip, of a token's ratio r or a completion's ratio s.
std::string clip_bounds_token(const AlgoConfig& algo);
std::string clip_bounds_sequence(const AlgoConfig& algo);
std::string clip_met_token(const AlgoConfig& algo, const TokenTerm& term);
std::string clip_met_sequence(const AlgoConfig& algo, const TokenTerm& term);

// L_t = clipped_surrogate(r_t, A_t): PPO, GRPO, DAPO, ...
extern const PolicyTerm clipped_tokens;
// L_t = clipped_surrogate(s, A): GSPO, LUSPO.
extern const PolicyTerm clipped_sequence;
// L_t = -A_t logp_t: REINFORCE, RLOO. Its value is not a distance to anything; its gradient is the
// policy gradient.
extern const PolicyTerm scores;
