#include "rl/loss.h"

#include "rl/value_loss.h"

LossParts completion_loss(const CompletionView& o, const AlgoConfig& algo, CompletionGrads grads) {
    LossParts parts;
    for (double w : o.weight) parts.tokens += w != 0;
    PolicyGrad grad{.dlogp = grads.dlogp};
    parts.policy = find_algorithm(algo.preset).policy.loss(o, algo, grad);
    parts.clipped = grad.clipped;

    const Kl kl = algo.kl_in == KlIn::loss ? algo.kl : Kl::none;
    for (size_t t = 0; t < o.logp.size(); ++t) {
        double w = o.weight_all[t];
        if (w == 0) continue;
        if (kl != Kl::none) {
            // k1, k2 and k3 do not read logp_old
            double old = o.logp_old.empty() ? o.logp[t] : o.logp_old[t];
            KlTerm term = kl_term(kl, o.logp[t], old, o.logp_ref[t]);
            parts.kl += algo.kl_coef * w * term.value;
            grads.dlogp[t] += algo.kl_coef * w * term.dlogp;
        }
        if (algo.entropy_coef != 0) {
            parts.entropy -= algo.entropy_coef * w * o.entropy[t];
            grads.dentropy[t] -= algo.entropy_coef * w;
        }
        if (algo.value_coef != 0) {
            ValueTerm term = value_term(o.value[t], o.value_old[t], o.ret[t], algo.value_clip);
            parts.value += algo.value_coef * w * term.loss;
            grads.dvalue[t] += algo.value_coef * w * term.dvalue;
        }
    }
    return parts;
}

CompletionView completion_view(const Rollouts& r, const Selection& kept, const Weights& w, int i) {
    return {tokens_of(r.logp, r, i),       tokens_of(r.logp_old, r, i),
            tokens_of(r.logp_ref, r, i),   tokens_of(r.entropy, r, i),
            tokens_of(r.value, r, i),      tokens_of(r.value_old, r, i),
            tokens_of(kept.A.token, r, i), tokens_of(kept.A.ret, r, i),
            tokens_of(w.policy, r, i),     tokens_of(w.all, r, i)};
}

BatchGrads zero_grads(int64_t tokens) {
    const std::vector<double> zero(tokens);
    return {zero, zero, zero};
}

BatchLoss batch_loss(const Rollouts& r, const Selection& kept, const Weights& weights,
                     const AlgoConfig& algo) {
    BatchLoss loss;
    BatchGrads& d = loss.grads;
    d = zero_grads(r.tokens());
    for (int i = 0; i < r.completions(); ++i) {
        if (!kept.completion[i]) continue;
        CompletionGrads grads{tokens_of(d.dlogp, r, i), tokens_of(d.dentropy, r, i),
                              tokens_of(d.dvalue, r, i)};
        loss.parts.add(completion_loss(completion_view(r, kept, weights, i), algo, grads));
    }
    return loss;
}
