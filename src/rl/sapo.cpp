// SAPO: soft adaptive policy optimisation [Gao et al. 2025, arXiv 2511.20347]: a soft gate in place
// of the clip.
//
//   L = -1/I sum_i 1/|o_i| sum_t f(r_it) A_i,  f(x) = 4/tau sigmoid(tau (x - 1)),  A_i = GRPO's
//   tau = tau_pos where A_i > 0, else tau_neg
//   df/dlogp = r f'(r),  f'(r) = 4 g (1 - g),  g = sigmoid(tau (r - 1)),   so
//   dL/dlogp_it = -r_it A_i a_it / (I |o_i|),  a_it = 4 g (1 - g): 1 on policy, 0 far from it
//
// tau_neg > tau_pos closes the gate sooner where a token is pushed down: that gradient spreads over
// the whole vocabulary.
//
// Departure from the paper: none. The temperatures are the paper's, and TRL's defaults.
#include "rl/policy_terms.h"

static const Parameter tau_pos = {"sapo", "tau_pos", 1.0, 1e-6, 1e6, "tau of the gate where A > 0"};
static const Parameter tau_neg = {"sapo", "tau_neg", 1.05,
                                  1e-6,   1e6,       "tau of the gate where A <= 0"};

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::group_mean; // R_i - mean(R)
    algo.advantage.std = Std::unbiased;             //   / (std(R) + 1e-6)
    algo.advantage.std_eps = 1e-6;
    algo.advantage.estimator = Estimator::outcome;       // A_it = A_i
    algo.aggregation = Aggregation::seq_mean_token_mean; // 1/I sum_i 1/|o_i| sum_t
}

static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

static double policy_loss(const CompletionView& o, const AlgoConfig& algo, PolicyGrad& grad) {
    const double pos = algo.value_of(tau_pos), neg = algo.value_of(tau_neg);
    return sum_over_tokens(o, grad, [&](size_t t) {
        const double A = o.advantage[t], r = token_ratio(o, t), tau = A > 0 ? pos : neg;
        const double g = sigmoid(tau * (r - 1));
        return TokenTerm{
            .loss = -4 / tau * g * A, .ratio = r, .factor = r, .A = A, .gate = 4 * g * (1 - g)};
    });
}

static std::string bounds(const AlgoConfig& algo) {
    return format("a = 4 g (1 - g), g = sigmoid(tau (r - 1)), tau = %g where A > 0, else %g",
                  algo.value_of(tau_pos), algo.value_of(tau_neg));
}

static std::string bounds_met(const AlgoConfig& algo, const TokenTerm& term) {
    const double tau = algo.value_of(term.A > 0 ? tau_pos : tau_neg);
    return format("g = sigmoid(%g (r - 1)) = %.5g, a = %.5g", tau, sigmoid(tau * (term.ratio - 1)),
                  term.gate);
}

Algorithm sapo() {
    return {.name = "sapo",
            .summary = "GRPO with a soft gate in place of the clip",
            .preset = preset,
            .policy = {.loss = policy_loss,
                       .ratio = Ratio::token,
                       .formula = "-w r A a",
                       .ratio_formula = token_ratio_formula,
                       .bounds = bounds,
                       .bounds_met = bounds_met},
            .parameters = {tau_pos, tau_neg}};
}
