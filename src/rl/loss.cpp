#include "rl/loss.h"

#include "rl/kl.h"
#include "rl/value_loss.h"

LossParts row_loss(const TokenRow& row, const AlgoConfig& algo, RowGrads grads) {
    LossParts parts;
    for (double w : row.weight) parts.tokens += w != 0;
    parts.policy = find_algorithm(algo.preset).policy_loss(row, algo, grads.dlogp, parts.clipped);

    Kl kl = algo.kl_in == "loss" ? kl_named(algo.kl) : Kl::none;
    for (size_t t = 0; t < row.logp.size(); ++t) {
        double w = row.weight_all[t];
        if (w == 0) continue;
        if (kl != Kl::none) {
            // k1, k2 and k3 do not read logp_old
            double old = row.logp_old.empty() ? row.logp[t] : row.logp_old[t];
            KlTerm term = kl_term(kl, row.logp[t], old, row.logp_ref[t]);
            parts.kl += algo.kl_coef * w * term.value;
            grads.dlogp[t] += algo.kl_coef * w * term.dlogp;
        }
        if (algo.entropy_coef != 0) {
            parts.entropy -= algo.entropy_coef * w * row.entropy[t];
            grads.dentropy[t] -= algo.entropy_coef * w;
        }
        if (algo.value_coef != 0) {
            ValueTerm term =
                value_term(row.value[t], row.value_old[t], row.ret[t], algo.value_clip);
            parts.value += algo.value_coef * w * term.loss;
            grads.dvalue[t] += algo.value_coef * w * term.dvalue;
        }
    }
    return parts;
}

TokenRow token_row(const Rollouts& r, const Plan& plan, int i) {
    return {row_of(r.logp, r, i),         row_of(r.logp_old, r, i), row_of(r.logp_ref, r, i),
            row_of(r.entropy, r, i),      row_of(r.value, r, i),    row_of(r.value_old, r, i),
            row_of(plan.advantage, r, i), row_of(plan.ret, r, i),   row_of(plan.weight, r, i),
            row_of(plan.weight_all, r, i)};
}

LossParts batch_loss(const Rollouts& r, const Plan& plan, const AlgoConfig& algo,
                     BatchGrads& grads) {
    LossParts total;
    for (std::vector<double>* d : {&grads.dlogp, &grads.dentropy, &grads.dvalue})
        d->assign(r.tokens(), 0);
    for (int i = 0; i < r.rows(); ++i) {
        if (!plan.kept[i]) continue;
        auto part = [&](std::vector<double>& d) {
            return std::span<double>(d.data() + r.offset[i], (size_t)r.length(i));
        };
        RowGrads row_grads{part(grads.dlogp), part(grads.dentropy), part(grads.dvalue)};
        total.add(row_loss(token_row(r, plan, i), algo, row_grads));
    }
    return total;
}
