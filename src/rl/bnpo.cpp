// BNPO: Beta normalisation policy optimisation [Xiao et al. 2025, arXiv 2506.02864]: the divisor of
// the advantage follows the rewards' own distribution.
//
//   p_q  = mean of R over the completions of prompt q, in [0, 1]
//   A_i  = (R_i - p_q) / f(p_q; alpha, beta),     f: density of Beta(alpha, beta)
//   a, b = the Beta distribution of the batch's p_q, by its mean m and (unbiased) variance v:
//          a = (m (1 - m) / v - 1) m,   b = (m (1 - m) / v - 1) (1 - m)
//   alpha = max(1, 1 + a/3),  beta = max(1, 1 + b/3)  the variance of the gradient is least there
//   L    = 1/(sum_j |o_j|) sum_i sum_t clipped_surrogate(r_it, A_i)
//
// alpha = beta = 1 is Dr. GRPO's advantage; alpha = beta = 3/2 is GRPO's up to a factor, as f is
// then 8/pi sqrt(p (1-p)). "bnpo" in TRL is the token mean alone, over the tokens of one device
// (theirs differ by device, ours is the step's).
//
// Departures from the authors' code: a prompt with one completion has A = 0 (there: A = R / f(0));
// where all prompts have the same p there is no distribution, and f = 1. 1/f is at most 1e6, as
// there.
#include "base/statistics.h"
#include "rl/advantage.h"
#include "rl/policy_terms.h"

#include <algorithm>

static const Parameter reward_min = {
    "bnpo", "reward_min", 0, -1e9, 1e9, "the least reward: R becomes (R - min) / (max - min)"};
static const Parameter reward_max = {"bnpo", "reward_max", 1, -1e9, 1e9, "the largest reward"};

static double beta_density(double p, double alpha, double beta) {
    if (alpha == 1 && beta == 1) return 1;
    const double log_B = std::lgamma(alpha) + std::lgamma(beta) - std::lgamma(alpha + beta);
    return std::pow(p, alpha - 1) * std::pow(1 - p, beta - 1) / std::exp(log_B);
}

static std::vector<double> normalised_rewards(const std::vector<double>& reward, const Rollouts& r,
                                              const AlgoConfig& algo) {
    const double low = algo.value_of(reward_min), high = algo.value_of(reward_max);
    CHECK(low < high, "algo.bnpo.reward_min = %g must be below algo.bnpo.reward_max = %g", low,
          high);
    std::vector<std::vector<double>> R(r.groups); // of each prompt, from 0 to 1
    for (int i = 0; i < r.completions(); ++i)
        R[r.group[i]].push_back((reward[i] - low) / (high - low));
    std::vector<double> p;
    for (const std::vector<double>& of_prompt : R) {
        p.push_back(mean(of_prompt));
        CHECK(p.back() >= 0 && p.back() <= 1,
              "algo.preset = bnpo: the mean reward of a prompt is %g of the range %g .. %g; set "
              "algo.bnpo.reward_min and algo.bnpo.reward_max to the least and the largest reward",
              p.back(), low, high);
    }
    const double m = mean(p), v = variance(p, m, true);
    const double size = v > 0 ? m * (1 - m) / v - 1 : 0; // a + b
    const double alpha = std::max(1.0, 1 + size * m / 3);
    const double beta = std::max(1.0, 1 + size * (1 - m) / 3);
    std::vector<double> A(reward.size());
    for (int i = 0; i < r.completions(); ++i) {
        const int q = r.group[i];
        if (!has_signal(R[q])) continue; // exactly 0
        const double scale = std::min(1 / beta_density(p[q], alpha, beta), 1e6);
        A[i] = ((reward[i] - low) / (high - low) - p[q]) * scale;
    }
    return A;
}

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::own;       // (R_i - p) / f(p; alpha, beta)
    algo.advantage.estimator = Estimator::outcome; // A_it = A_i
    algo.clip_eps_low = algo.clip_eps_high = 0.2;  // clip(r, 1 - eps, 1 + eps)
    algo.aggregation = Aggregation::token_mean;    // 1/(sum_j |o_j|) sum_i sum_t
}

Algorithm bnpo() {
    return {.name = "bnpo",
            .summary = "GRPO with a divisor that follows the rewards' distribution",
            .preset = preset,
            .policy = clipped_tokens,
            .parameters = {reward_min, reward_max},
            .normalised_rewards = normalised_rewards};
}
