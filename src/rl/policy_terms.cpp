#include "rl/policy_terms.h"

static double clipped_tokens_loss(const CompletionView& o, const AlgoConfig& algo,
                                  PolicyGrad& grad) {
    return sum_over_tokens(
        o, grad, [&](size_t t) { return clipped_term(token_ratio(o, t), o.advantage[t], algo); });
}

static double clipped_sequence_loss(const CompletionView& o, const AlgoConfig& algo,
                                    PolicyGrad& grad) {
    const TokenTerm all = clipped_term(sequence_ratio(o), mean_advantage(o), algo);
    return sum_over_tokens(o, grad, [&](size_t) { return all; });
}

static double scores_loss(const CompletionView& o, const AlgoConfig&, PolicyGrad& grad) {
    return sum_of_scores(o, grad, [&](size_t t) { return TokenTerm{.A = o.advantage[t]}; });
}

static std::string clip_bounds(const AlgoConfig& algo, const char* ratio) {
    std::string text = format("a = 0 where A > 0 and %s > %g, or A < 0 and %s < %g", ratio,
                              1 + algo.clip_eps_high, ratio, 1 - algo.clip_eps_low);
    if (algo.dual_clip > 0) text += format(", or A < 0 and %s > %g", ratio, algo.dual_clip);
    return text + "; else 1";
}

static std::string clip_met(const AlgoConfig& algo, const TokenTerm& term, const char* ratio) {
    const double low = 1 - algo.clip_eps_low, high = 1 + algo.clip_eps_high;
    const bool outside = term.ratio > high || term.ratio < low;
    return format("%s in [%g, %g]: %s", ratio, low, high,
                  term.clipped ? "no, clipped, gradient 0"
                  : outside    ? "no, but A pulls back: not clipped"
                               : "yes");
}

std::string clip_bounds_token(const AlgoConfig& algo) { return clip_bounds(algo, "r"); }
std::string clip_bounds_sequence(const AlgoConfig& algo) { return clip_bounds(algo, "s"); }
std::string clip_met_token(const AlgoConfig& algo, const TokenTerm& term) {
    return clip_met(algo, term, "r");
}
std::string clip_met_sequence(const AlgoConfig& algo, const TokenTerm& term) {
    return clip_met(algo, term, "s");
}

const PolicyTerm clipped_tokens = {.loss = clipped_tokens_loss,
                                   .ratio = Ratio::token,
                                   .keys = clip_keys,
                                   .formula = "-w r A a",
                                   .ratio_formula = token_ratio_formula,
                                   .bounds = clip_bounds_token,
                                   .bounds_met = clip_met_token};

const PolicyTerm clipped_sequence = {.loss = clipped_sequence_loss,
                                     .ratio = Ratio::sequence,
                                     .keys = clip_keys,
                                     .formula = "-w s A a",
                                     .ratio_formula = sequence_ratio_formula,
                                     .bounds = clip_bounds_sequence,
                                     .bounds_met = clip_met_sequence};

const PolicyTerm scores = {.loss = scores_loss, .formula = "-w A"};
