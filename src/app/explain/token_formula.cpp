#include "app/explain/token_formula.h"

#include "rl/kl.h"

#include <algorithm>

static std::string g(double value) { return format("%.5g", value + 0.0); }

static std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const size_t at = text.find(from);
    return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

std::vector<std::string> algorithm_formula(const AlgoConfig& algo) {
    const PolicyTerm& policy = find_algorithm(algo.preset).policy;
    std::string first = algo.preset + ":  dL/dlogp = " + policy.formula;
    if (*policy.ratio_formula) first += std::string(",   ") + policy.ratio_formula;
    std::vector<std::string> lines = {first};
    if (policy.bounds) lines.push_back(policy.bounds(algo));
    lines.push_back(format("w: weight of the token in the step (%s)", name_of(algo.aggregation)));
    if (algo.kl != Kl::none && algo.kl_in == KlIn::loss)
        lines.push_back("+ " + g(algo.kl_coef) + " w' d" + name_of(algo.kl) + "/dlogp");
    if (algo.entropy_coef != 0) lines.push_back("dL/dentropy = -" + g(algo.entropy_coef) + " w'");
    return lines;
}

// The ratio's definition with the token's numbers in it.
static std::string ratio_text(const PolicyTerm& policy, const TokenTerm& term, double logp,
                              double logp_old, size_t tokens) {
    std::string text = policy.ratio_formula;
    if (policy.ratio == Ratio::token)
        text = replaced(replaced(text, "logp_old", g(logp_old)), "logp", g(logp));
    else
        text = replaced(text, "the completion", format("%zu tokens", tokens));
    return text + " = " + g(term.ratio);
}

// What the policy term says of a token with a weight, in lines.
static std::string policy_text(const AlgoConfig& algo, const TokenTerm& term, double w, double logp,
                               double logp_old, size_t tokens) {
    const PolicyTerm& policy = find_algorithm(algo.preset).policy;
    const double dlogp = term.gate == 0 ? 0 : -w * term.factor * term.A * term.gate;
    if (policy.ratio == Ratio::none)
        return "-w A = -" + g(w) + " * " + g(term.A) + " = " + g(dlogp) + "\n";
    std::string text = ratio_text(policy, term, logp, logp_old, tokens) + "\n";
    const std::string met = policy.bounds_met ? policy.bounds_met(algo, term) : "";
    if (!met.empty()) text += met + "\n";
    text +=
        std::string(policy.formula) + " = -" + g(w) + " * " + g(term.factor) + " * " + g(term.A);
    const bool gated = std::string(policy.formula).ends_with(" a");
    return text + (gated ? " * " + g(term.gate) : "") + " = " + g(dlogp) + "\n";
}

TokenFormula token_formula(const Rollouts& r, const Selection& kept, const Weights& weights,
                           const AlgoConfig& algo, int i, int token) {
    const size_t n = (size_t)(r.offset[i] + token);
    const CompletionView row = completion_view(r, kept, weights, i);
    const double w = weights.policy[n], all = weights.all[n], logp = r.logp[n];
    const double old = r.logp_old.empty() ? logp : r.logp_old[n];
    TokenFormula formula;
    if (w == 0) {
        formula.text = "dropped: w = 0, no policy gradient\n";
    } else {
        std::vector<double> dlogp(row.logp.size());
        std::vector<TokenTerm> terms(row.logp.size());
        PolicyGrad grad{.dlogp = dlogp, .terms = &terms};
        find_algorithm(algo.preset).policy.loss(row, algo, grad);
        const TokenTerm& term = terms[token];
        formula.text = policy_text(algo, term, w, logp, old, row.logp.size());
        formula.dlogp = term.gate == 0 ? 0 : -w * term.factor * term.A * term.gate;
    }
    if (algo.kl != Kl::none && algo.kl_in == KlIn::loss && kept.completion[i] && all != 0) {
        const KlTerm term = kl_term(algo.kl, logp, old, r.logp_ref[n]);
        const double part = algo.kl_coef * all * term.dlogp;
        const std::string name = name_of(algo.kl);
        formula.text += name + " = " + g(term.value) + ", beta w' d" + name +
                        "/dlogp = " + g(algo.kl_coef) + " * " + g(all) + " * " + g(term.dlogp) +
                        " = " + g(part) + "\n";
        formula.dlogp += part;
    }
    formula.text += "dL/dlogp = " + g(formula.dlogp);
    return formula;
}
