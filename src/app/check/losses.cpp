// Every loss of src/rl, and DPO, against central differences by each logp, value and entropy, on random rollouts: five
// prompts of one to four completions, the policy 0.3 nats away from logp_old, so that clips are reached.

#include "app/check/check.h"
#include "app/check/random_rollouts.h"
#include "reward/dpo.h"
#include "rl/advantage.h"
#include "rl/aggregation.h"
#include "rl/loss.h"
#include "rl/select.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

namespace {

// Largest error over the elements of x, relative to the largest derivative.
double largest_error(std::vector<double>& x, const std::vector<double>& dx,
                     const std::function<double()>& loss) {
    const double h = 1e-5;
    double worst = 0, scale = 1e-6;
    for (size_t n = 0; n < x.size(); ++n) {
        const double at = x[n];
        x[n] = at + h;
        double up = loss();
        x[n] = at - h;
        double down = loss();
        x[n] = at;
        double want = (up - down) / (2 * h), error = std::abs(dx[n] - want);
        if (!(error <= worst)) worst = error; // a NaN stays
        scale = std::max(scale, std::abs(want));
    }
    return worst / scale;
}

void check_loss(GradientTable& table, const std::string& name, const AlgoConfig& algo) {
    Rollouts r = random_rollouts(17);
    // of the stored rollouts: constants from here on
    const Selection kept = select(r, advantages(r, algo), algo, SelectConfig());
    const Weights weights = weigh(r, kept, algo, Denominator::of_aggregation);
    const BatchGrads grads = batch_loss(r, kept, weights, algo).grads;
    auto loss = [&] { return batch_loss(r, kept, weights, algo).parts.total(); };
    double worst = largest_error(r.logp, grads.dlogp, loss);
    if (algo.entropy_coef != 0)
        worst = std::max(worst, largest_error(r.entropy, grads.dentropy, loss));
    if (algo.value_coef != 0) worst = std::max(worst, largest_error(r.value, grads.dvalue, loss));
    table.row("loss, " + name, worst);
}

void check_dpo(GradientTable& table) {
    Rng rng(3);
    std::vector<double> logp[2], ref[2]; // chosen, rejected
    for (int side = 0; side < 2; ++side)
        for (int t = 0; t < 4 + side; ++t) {
            logp[side].push_back(-1 + 0.3 * rng.normal());
            ref[side].push_back(-1 + 0.3 * rng.normal());
        }
    auto term = [&] { return dpo_loss(logp[0], ref[0], logp[1], ref[1], 0.3, 0.1); };
    auto loss = [&] { return term().loss; };
    std::vector<double> dchosen(logp[0].size(), term().dchosen);
    std::vector<double> drejected(logp[1].size(), term().drejected);
    table.row("loss, dpo", std::max(largest_error(logp[0], dchosen, loss),
                                    largest_error(logp[1], drejected, loss)));
}

} // namespace

void check_losses(GradientTable& table) {
    for (const Algorithm& row : algorithm_table()) {
        AlgoConfig algo = preset_algorithm(row.name);
        if (algo.aggregation == Aggregation::seq_mean_token_sum_norm) algo.max_length_norm = 9;
        algo.entropy_coef = 0.05;
        // Their derivative is by definition not that of the printed loss: a factor's gradient is stopped.
        if (row.policy.stops_gradient) {
            std::printf("%-44s %9s  see tests/rl/%s_test.cpp\n",
                        format("loss, %s (stops a gradient)", row.name).c_str(), "", row.name);
            continue;
        }
        check_loss(table, row.name, algo);
    }
    for (Kl kl : {Kl::k1, Kl::k2, Kl::k3, Kl::k3_ratio}) {
        AlgoConfig algo = preset_algorithm("dapo");
        algo.kl = kl;
        algo.kl_coef = 0.7;
        check_loss(table, format("dapo with KL %s", name_of(kl)), algo);
    }
    check_dpo(table);
}
