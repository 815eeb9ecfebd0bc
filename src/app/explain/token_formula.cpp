#include "app/explain/token_formula.h"

#include "rl/kl.h"
#include "rl/policy_terms.h"

#include <algorithm>

namespace {

enum class Form { token_ratio, sequence_ratio, mean_advantage, capped, score };

Form form_of(const AlgoConfig& algo) {
    const Algorithm& row = find_algorithm(algo.preset);
    if (!row.uses_ratio) return Form::score;
    if (row.policy_loss == find_algorithm("cispo").policy_loss) return Form::capped;
    if (row.policy_loss == find_algorithm("gspo").policy_loss) return Form::mean_advantage;
    return row.sequence_ratio ? Form::sequence_ratio : Form::token_ratio;
}

std::string g(double value) { return format("%.5g", value + 0.0); }

} // namespace

std::vector<std::string> algorithm_formula(const AlgoConfig& algo) {
    std::vector<std::string> lines;
    const std::string clip = format(
        "a = 0 where A > 0 and RATIO > %g, or A < 0 and RATIO < %g%s; else 1",
        1 + algo.clip_eps_high, 1 - algo.clip_eps_low,
        algo.dual_clip > 0 ? format(", or A < 0 and RATIO > %g", algo.dual_clip).c_str() : "");
    auto clip_of = [&](const char* ratio) {
        std::string text = clip;
        for (size_t at; (at = text.find("RATIO")) != std::string::npos;) text.replace(at, 5, ratio);
        return text;
    };
    switch (form_of(algo)) {
    case Form::score:
        lines = {"dL/dlogp = -w A"};
        break;
    case Form::capped:
        lines = {"dL/dlogp = -w min(r, cap) A,   r = exp(logp - logp_old)",
                 algo.ratio_cap > 0 ? "cap = " + g(algo.ratio_cap) : "no cap"};
        break;
    case Form::token_ratio:
        lines = {"dL/dlogp = -w r A a,   r = exp(logp - logp_old)", clip_of("r")};
        break;
    case Form::mean_advantage:
    case Form::sequence_ratio:
        lines = {"dL/dlogp = -w s A a,   s = exp(mean of logp - logp_old over the completion)",
                 clip_of("s")};
        break;
    }
    lines[0] = algo.preset + ":  " + lines[0];
    lines.push_back("w: weight of the token in the step (" + algo.aggregation + ")");
    if (algo.kl != "none" && algo.kl_in == "loss")
        lines.push_back("+ " + g(algo.kl_coef) + " w' d" + algo.kl + "/dlogp");
    if (algo.entropy_coef != 0) lines.push_back("dL/dentropy = -" + g(algo.entropy_coef) + " w'");
    return lines;
}

TokenFormula token_formula(const Rollouts& r, const Selection& kept, const Weights& weights,
                           const AlgoConfig& algo, int i, int token) {
    const size_t n = (size_t)(r.offset[i] + token);
    const TokenRow values = token_row(r, kept, weights, i);
    const double w = weights.policy[n], logp = r.logp[n];
    const double old = r.logp_old.empty() ? logp : r.logp_old[n];
    double A = kept.A.token[n];
    TokenFormula formula;
    std::string& text = formula.text;
    const Form form = form_of(algo);
    if (w == 0) {
        text = "dropped: w = 0, no policy gradient\n";
    } else if (form == Form::score) {
        formula.dlogp = -w * A;
        text = "-w A = -" + g(w) + " * " + g(A) + " = " + g(formula.dlogp) + "\n";
    } else {
        const bool sequence = form == Form::sequence_ratio || form == Form::mean_advantage;
        const char* name = sequence ? "s" : "r";
        double ratio = sequence ? sequence_ratio(values) : std::exp(logp - old);
        text += sequence ? format("s = exp(mean of logp - logp_old over %zu tokens) = %s\n",
                                  values.logp.size(), g(ratio).c_str())
                         : "r = exp(" + g(logp) + " - " + g(old) + ") = " + g(ratio) + "\n";
        if (form == Form::mean_advantage) {
            double sum = 0;
            for (double a : values.advantage) sum += a;
            A = sum / (double)values.advantage.size();
        }
        bool clipped = false;
        if (form == Form::capped) {
            clipped = algo.ratio_cap > 0 && ratio > algo.ratio_cap;
            if (clipped) text += "r > " + g(algo.ratio_cap) + ": capped\n", ratio = algo.ratio_cap;
            formula.dlogp = -w * ratio * A;
        } else {
            Surrogate term =
                clipped_surrogate(ratio, A, algo.clip_eps_low, algo.clip_eps_high, algo.dual_clip);
            clipped = term.clipped;
            formula.dlogp = w * term.dlogp;
            text +=
                format("%s in [%g, %g]: %s\n", name, 1 - algo.clip_eps_low, 1 + algo.clip_eps_high,
                       clipped ? "no, clipped, gradient 0"
                       : ratio > 1 + algo.clip_eps_high || ratio < 1 - algo.clip_eps_low
                           ? "no, but A pulls back: not clipped"
                           : "yes");
        }
        text += format("-w %s A%s = -", name, form == Form::capped ? "" : " a") + g(w) + " * " +
                g(ratio) + " * " + g(A) +
                (form == Form::capped ? ""
                 : clipped            ? " * 0"
                                      : " * 1") +
                " = " + g(formula.dlogp) + "\n";
    }
    const double all = weights.all[n];
    if (algo.kl != "none" && algo.kl_in == "loss" && kept.completion[i] && all != 0) {
        KlTerm term = kl_term(kl_named(algo.kl), logp, old, r.logp_ref[n]);
        double part = algo.kl_coef * all * term.dlogp;
        text += algo.kl + " = " + g(term.value) + ", beta w' d" + algo.kl +
                "/dlogp = " + g(algo.kl_coef) + " * " + g(all) + " * " + g(term.dlogp) + " = " +
                g(part) + "\n";
        formula.dlogp += part;
    }
    text += "dL/dlogp = " + g(formula.dlogp);
    return formula;
}
