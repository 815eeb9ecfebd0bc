// CISPO: clipped importance-sampling policy optimisation [MiniMax 2025, "MiniMax-M1", eq. 4 and 5].
//
//   L = 1/(sum_j |o_j|) sum_i sum_t -sg[min(r_it, cap)] A_i logp_it,      A_i = GRPO's
//   dL/dlogp_it = -min(r_it, cap) A_i / sum_j |o_j|
//
// The weight is clipped, never the gradient: every token keeps a say, also the rare ones that PPO's
// clip silences first. `clipped` counts the tokens at the cap.
//
// Departure from the paper: none known; cap = 5 is TRL's, the paper gives no number. cap 0: no cap.
#include "rl/policy_terms.h"

static void preset(AlgoConfig& algo) {
    algo.advantage.baseline = Baseline::group_mean; // R_i - mean(R)
    algo.advantage.std = Std::unbiased;             //   / (std(R) + 1e-6)
    algo.advantage.std_eps = 1e-6;
    algo.advantage.estimator = Estimator::outcome; // A_it = A_i
    algo.ratio_cap = 5;                            // min(r, cap)
    algo.aggregation = Aggregation::token_mean;    // 1/(sum_j |o_j|) sum_i sum_t
}

static constexpr const char* cap_keys[] = {"ratio_cap"};

static double policy_loss(const CompletionView& o, const AlgoConfig& algo, PolicyGrad& grad) {
    return sum_of_scores(o, grad, [&](size_t t) {
        const double r = token_ratio(o, t);
        const bool capped = algo.ratio_cap > 0 && r > algo.ratio_cap;
        return TokenTerm{.ratio = r,
                         .factor = capped ? algo.ratio_cap : r,
                         .A = o.advantage[t],
                         .clipped = capped};
    });
}

static std::string bounds(const AlgoConfig& algo) {
    return algo.ratio_cap > 0 ? format("cap = %.5g", algo.ratio_cap) : "no cap";
}

static std::string bounds_met(const AlgoConfig& algo, const TokenTerm& term) {
    return term.clipped ? format("r > %.5g: capped", algo.ratio_cap) : "";
}

Algorithm cispo() {
    return {.name = "cispo",
            .summary = "the importance weight is clipped, not the gradient",
            .preset = preset,
            .policy = {.loss = policy_loss,
                       .ratio = Ratio::token,
                       .keys = cap_keys,
                       .stops_gradient = true,
                       .formula = "-w min(r, cap) A",
                       .ratio_formula = token_ratio_formula,
                       .bounds = bounds,
                       .bounds_met = bounds_met}};
}
