// VESPO: variational sequence-level soft policy optimisation [arXiv 2602.10693]: the ratio of a
// whole completion, bent by the kernel of a Gamma density.
//
//   W_i  = pi(o_i) / pi_old(o_i) = exp(sum_t d_it),  d_it = logp_it - logp_old_it  (no mean)
//   phi(W) = W^k exp(lambda (1 - W)),  phi(1) = 1;  k, lambda by the sign of A_i
//   L      = 1/(sum_j |o_j|) sum_i sum_t -sg[phi(W_i)] A_i logp_it,      A_i = GRPO's
//   dL/dlogp_it = -phi(W_i) A_i / sum_j |o_j|
//
// phi is largest at W = k / lambda and falls to 0 on both sides, so that a completion far from
// pi_old fades out, whole. log phi = lambda + k log W - lambda W is what is computed.
//
// Departure from the paper: none known. TRL bounds log W by -18.4 and 20 first; phi is below 1e-14
// at either end with its defaults (k 2, lambda 3 where A >= 0; k 3, lambda 2 else), which are ours,
// too, and no bound is put here.
#include "rl/policy_terms.h"

static const Parameter k_pos = {"vespo", "k_pos", 2, 0, 1e3, "k: power of W where A >= 0"};
static const Parameter k_neg = {"vespo", "k_neg", 3, 0, 1e3, "k: power of W where A < 0"};
static const Parameter lambda_pos = {"vespo", "lambda_pos", 3,
                                     1e-4,    1e3,          "lambda: decay with W where A >= 0"};
static const Parameter lambda_neg = {"vespo", "lambda_neg", 2,
                                     1e-4,    1e3,          "lambda: decay with W where A < 0"};

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::group_mean; // R_i - mean(R)
    algo.advantage.std = Std::unbiased;             //   / (std(R) + 1e-6)
    algo.advantage.std_eps = 1e-6;
    algo.advantage.estimator = Estimator::outcome; // A_it = A_i
    algo.aggregation = Aggregation::token_mean;    // 1/(sum_j |o_j|) sum_i sum_t
}

static double policy_loss(const CompletionView& o, const AlgoConfig& algo, PolicyGrad& grad) {
    double log_W = 0;
    for (size_t t = 0; t < o.logp.size(); ++t) log_W += o.logp[t] - o.logp_old[t];
    const double W = std::exp(log_W);
    auto phi = [&](const Parameter& k, const Parameter& lambda) {
        const double l = algo.value_of(lambda);
        return std::exp(l + algo.value_of(k) * log_W - l * W);
    };
    const double pos = phi(k_pos, lambda_pos), neg = phi(k_neg, lambda_neg);
    return sum_of_scores(o, grad, [&](size_t t) {
        const double A = o.advantage[t];
        return TokenTerm{.ratio = W, .factor = A >= 0 ? pos : neg, .A = A};
    });
}

static std::string bounds(const AlgoConfig& algo) {
    return format(
        "phi = W^k e^(lambda (1 - W)); A >= 0: k = %g, lambda = %g; A < 0: k = %g, lambda "
        "= %g",
        algo.value_of(k_pos), algo.value_of(lambda_pos), algo.value_of(k_neg),
        algo.value_of(lambda_neg));
}

static std::string bounds_met(const AlgoConfig& algo, const TokenTerm& term) {
    const bool up = term.A >= 0;
    return format("phi = W^%g e^(%g (1 - W)) = %.5g", algo.value_of(up ? k_pos : k_neg),
                  algo.value_of(up ? lambda_pos : lambda_neg), term.factor);
}

Algorithm vespo() {
    return {.name = "vespo",
            .summary = "a soft weight by the ratio of whole completions, no clip",
            .preset = preset,
            .policy = {.loss = policy_loss,
                       .ratio = Ratio::sequence,
                       .stops_gradient = true,
                       .formula = "-w phi A",
                       .ratio_formula = "W = exp(sum of logp - logp_old over the completion)",
                       .bounds = bounds,
                       .bounds_met = bounds_met},
            .parameters = {k_pos, lambda_pos, k_neg, lambda_neg}};
}
