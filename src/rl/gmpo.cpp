// GMPO: geometric-mean policy optimisation [Zhao et al. 2025, arXiv 2507.20673]: the geometric mean
// of clipped token ratios where GRPO has the arithmetic one.
//
//   d_it = logp_it - logp_old_it, clipped on the side that A pushes to:
//          A_i > 0: d~ = min(d, eps_high),  else d~ = max(d, -eps_low)  (in nats)
//   g_i  = exp(1/|o_i| sum_t d~_it),     L = -1/I sum_i g_i A_i,     A_i = GRPO's
//   dL/dlogp_it = -A_i g_i a_it / (I |o_i|),   a_it = 0 where d~ is at its bound, else 1
//
// The mean is the completion's, the clip the token's: one wild token costs its own gradient, not
// the completion's. With w_it = 1/(I |o_i|) the loss is sum_it w_it (-g_i A_i), which is how it is
// written below. Where A varies inside a completion its mean is taken, as in gspo.cpp.
//
// Departure from the paper: none known. Under token selection g_i is still the whole completion's
// (TRL leaves dropped tokens out of the mean). The clip of e^-0.4 .. e^0.4 is the authors'.
#include "rl/policy_terms.h"

#include <algorithm>

static const Parameter eps_low = {
    "gmpo", "eps_low", 0.4, 0, 1e3, "nats: where A <= 0, d is bounded by -eps_low"};
static const Parameter eps_high = {
    "gmpo", "eps_high", 0.4, 0, 1e3, "nats: where A > 0, d is bounded by eps_high"};

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::group_mean; // R_i - mean(R)
    algo.advantage.std = Std::unbiased;             //   / (std(R) + 1e-6)
    algo.advantage.std_eps = 1e-6;
    algo.advantage.estimator = Estimator::outcome;       // A_it = A_i
    algo.aggregation = Aggregation::seq_mean_token_mean; // 1/I sum_i
}

static double policy_loss(const CompletionView& o, const AlgoConfig& algo, PolicyGrad& grad) {
    const double A = mean_advantage(o), low = algo.value_of(eps_low),
                 high = algo.value_of(eps_high);
    auto d = [&](size_t t) { return o.logp[t] - o.logp_old[t]; };
    double sum = 0;
    for (size_t t = 0; t < o.logp.size(); ++t)
        sum += A > 0 ? std::min(d(t), high) : std::max(d(t), -low);
    const double g = std::exp(sum / (double)o.logp.size());
    return sum_over_tokens(o, grad, [&](size_t t) {
        const bool clipped = A > 0 ? d(t) > high : d(t) < -low;
        return TokenTerm{.loss = -g * A,
                         .ratio = g,
                         .factor = g,
                         .A = A,
                         .gate = clipped ? 0.0 : 1.0,
                         .clipped = clipped};
    });
}

static std::string bounds(const AlgoConfig& algo) {
    return format(
        "d = logp - logp_old, at most %g where A > 0, at least %g else; a = 0 at the bound",
        algo.value_of(eps_high), -algo.value_of(eps_low));
}

static std::string bounds_met(const AlgoConfig&, const TokenTerm& term) {
    return term.clipped ? "d is out of its bound: clipped, gradient 0" : "d is within its bound";
}

Algorithm gmpo() {
    return {.name = "gmpo",
            .summary = "the geometric mean of clipped ratios",
            .preset = preset,
            .policy = {.loss = policy_loss,
                       .ratio = Ratio::sequence,
                       .formula = "-w g A a",
                       .ratio_formula = "g = exp(mean of the bounded d over the completion)",
                       .bounds = bounds,
                       .bounds_met = bounds_met},
            .parameters = {eps_low, eps_high}};
}
