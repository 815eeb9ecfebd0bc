#pragma once
// One completion as a policy term sees it, for the tests of single algorithms: every weight is 1.

#include "rl/algorithms.h"

struct OneCompletion {
    std::vector<double> logp, logp_old, advantage, weight;

    // d: logp - logp_old of each token
    OneCompletion(std::vector<double> d, std::vector<double> A) : advantage(std::move(A)) {
        for (double x : d) {
            logp_old.push_back(-1.5);
            logp.push_back(-1.5 + x);
        }
        weight.assign(d.size(), 1.0);
    }
    CompletionView view() const {
        CompletionView o;
        o.logp = logp;
        o.logp_old = logp_old;
        o.advantage = advantage;
        o.weight = weight;
        return o;
    }
    // L and dL/dlogp
    std::pair<double, std::vector<double>> loss(const AlgoConfig& algo,
                                                int64_t* clipped = nullptr) const {
        std::vector<double> dlogp(logp.size());
        PolicyGrad grad{.dlogp = dlogp};
        const double value = find_algorithm(algo.preset).policy.loss(view(), algo, grad);
        if (clipped) *clipped = grad.clipped;
        return {value, dlogp};
    }
};
