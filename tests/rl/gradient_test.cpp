// Central differences of every loss by logp, value and entropy, and both sides of every branch.

#include "app/check/random_rollouts.h"
#include "reward/dpo.h"
#include "rl/advantage.h"
#include "rl/aggregation.h"
#include "rl/kl.h"
#include "rl/loss.h"
#include "rl/policy_terms.h"
#include "rl/select.h"
#include "rl/value_loss.h"
#include "testing.h"

#include <algorithm>

namespace {
std::vector<AlgoConfig> gradient_cases() {
    std::vector<AlgoConfig> cases;
    auto add = [&](const char* name, auto change) {
        AlgoConfig algo = preset_algorithm(name);
        if (algo.aggregation == Aggregation::seq_mean_token_sum_norm) algo.max_length_norm = 9;
        change(algo);
        cases.push_back(algo);
    };
    for (const Algorithm& row : algorithm_table()) {
        if (row.policy.stops_gradient) continue; // on purpose; each has a test of its own
        add(row.name, [](AlgoConfig&) {});
        add(row.name, [](AlgoConfig& algo) {
            algo.entropy_coef = 0.05;
            if (algo.kl_in == KlIn::loss) algo.kl = Kl::k3, algo.kl_coef = 0.2;
        });
    }
    for (Kl kl : {Kl::k1, Kl::k2, Kl::k3_ratio})
        add("dapo", [&](AlgoConfig& algo) { algo.kl = kl, algo.kl_coef = 0.7; });
    add("grpo", [](AlgoConfig& algo) { algo.dual_clip = 1.3; });
    add("gspo", [](AlgoConfig& algo) { algo.clip_eps_low = algo.clip_eps_high = 0.1; });
    add("ppo", [](AlgoConfig& a) { a.gamma = 0.9, a.lambda = 0.8, a.value_coef = 2; });
    return cases;
}

// Largest error relative to the largest derivative.
double differences(std::vector<double>& x, const std::vector<double>& dx,
                   const std::function<double()>& loss) {
    double worst = 0, scale = 1e-6;
    const double h = 1e-5;
    for (size_t n = 0; n < x.size(); ++n) {
        double at = x[n];
        x[n] = at + h;
        double up = loss();
        x[n] = at - h;
        double down = loss();
        x[n] = at;
        double want = (up - down) / (2 * h);
        worst = std::isnan(want) ? NAN : std::max(worst, std::abs(dx[n] - want));
        scale = std::max(scale, std::abs(want));
    }
    return worst / scale;
}
} // namespace

TEST(Gradient, EveryLossByLogpValueAndEntropy) {
    for (const AlgoConfig& algo : gradient_cases()) {
        SCOPED_TRACE(algo.preset + " " + name_of(algo.kl));
        Rollouts r = random_rollouts(17);
        // of the stored rollouts: constants from here on
        Selection kept = select(r, advantages(r, algo), algo, SelectConfig());
        Weights weights = weigh(r, kept, algo, Denominator::of_aggregation);
        auto [parts, grads] = batch_loss(r, kept, weights, algo);
        auto loss = [&] { return batch_loss(r, kept, weights, algo).parts.total(); };
        // h^2 / 6 of the third derivative and the rounding of the loss: a few 1e-10
        EXPECT_TRUE(differences(r.logp, grads.dlogp, loss) <= 1e-8);
        EXPECT_TRUE(differences(r.entropy, grads.dentropy, loss) <= 1e-8);
        EXPECT_TRUE(differences(r.value, grads.dvalue, loss) <= 1e-8);
        const PolicyTerm& policy = find_algorithm(algo.preset).policy;
        if (policy.loss == clipped_tokens.loss || policy.loss == clipped_sequence.loss) {
            EXPECT_GT(parts.clipped, 0) << "the data must reach the clip";
            EXPECT_LT(parts.clipped, parts.tokens) << "and must not always be in it";
        }
    }
}

// The derivative of each piece at a point inside every branch; the point must lie in the branch it names.
TEST(Gradient, BothSidesOfEveryBranchOfTheSurrogate) {
    struct Point {
        double A, ratio;
        bool clipped;
    };
    // eps_low 0.2, eps_high 0.3, dual clip 1.5
    for (Point p : {Point{1, 1.1, false},
                    {1, 1.4, true},
                    {1, 0.5, false},
                    {-1, 0.9, false},
                    {-1, 0.7, true},
                    {-1, 1.4, false},
                    {-1, 1.6, true},
                    {-2, 2.5, true},
                    {0, 1.7, false},
                    {0, 0.2, false}}) {
        auto loss = [&](double logp) {
            return clipped_surrogate(std::exp(logp), p.A, 0.2, 0.3, 1.5).loss;
        };
        double x = std::log(p.ratio), h = 1e-6;
        Surrogate at = clipped_surrogate(p.ratio, p.A, 0.2, 0.3, 1.5);
        EXPECT_EQ(at.clipped, p.clipped) << p.A << " " << p.ratio;
        EXPECT_TRUE(close(at.dlogp, (loss(x + h) - loss(x - h)) / (2 * h), 1e-9));
        // the value is the paper's min and max
        double want = -std::min(p.ratio * p.A, std::clamp(p.ratio, 0.8, 1.3) * p.A);
        if (p.A < 0) want = std::min(want, -1.5 * p.A);
        EXPECT_TRUE(close(at.loss, want, 1e-14));
    }
}

TEST(Gradient, TheBoundaryItselfIsAliveAndTheNextNumberIsNot) {
    EXPECT_TRUE(clipped_surrogate(std::nextafter(1 + 0.3, 2), 1, 0.2, 0.3, 0).clipped);
    EXPECT_TRUE(clipped_surrogate(std::nextafter(1 - 0.2, 0), -1, 0.2, 0.3, 0).clipped);
    EXPECT_TRUE(clipped_surrogate(std::nextafter(1.5, 2), -1, 0.2, 0.3, 1.5).clipped);
    EXPECT_EQ(value_term(0.75 + 1e-9, 0.5, 3, 0.25).dvalue, 0);
    EXPECT_EQ(clipped_surrogate(1 + 0.3, 1, 0.2, 0.3, 0).dlogp, -1.3);
    EXPECT_EQ(clipped_surrogate(1 - 0.2, -1, 0.2, 0.3, 0).dlogp, 0.8);
    EXPECT_EQ(clipped_surrogate(1.5, -1, 0.2, 0.3, 1.5).dlogp, 1.5);
    EXPECT_EQ(value_term(0.75, 0.5, 3, 0.25).dvalue, 0.75 - 3);
}

TEST(Gradient, KlEstimators) {
    double old = -1.1, ref = -0.7, h = 1e-6;
    for (double logp : {-2.0, -0.7, -0.3})
        for (Kl kind : {Kl::k1, Kl::k2, Kl::k3, Kl::k3_ratio}) {
            double up = kl_term(kind, logp + h, old, ref).value;
            double down = kl_term(kind, logp - h, old, ref).value;
            EXPECT_TRUE(close(kl_term(kind, logp, old, ref).dlogp, (up - down) / (2 * h), 1e-9));
        }
    EXPECT_TRUE(close(kl_term(Kl::k3, -2, old, ref).value, std::exp(1.3) - 1.3 - 1, 1e-15));
    EXPECT_EQ(kl_term(Kl::k3, ref, old, ref).value, 0);
    // Moving along -dlogp lowers the KL.
    for (Kl kind : {Kl::k2, Kl::k3}) {
        KlTerm at = kl_term(kind, -2, old, ref);
        EXPECT_LT(kl_term(kind, -2 - 1e-3 * at.dlogp, old, ref).value, at.value);
    }
}

TEST(Gradient, ValueLossInAndOutOfRange) {
    struct Point {
        double value, ret;
        bool alive;
    };
    // value_old 0, eps 0.5: inside; outside and away from the return (alive); outside and towards it (dead)
    for (Point p : {Point{0.3, 2, true},
                    {0.8, -1, true},
                    {0.8, 2, false},
                    {-0.9, -3, false},
                    {-0.9, 1, true}}) {
        double h = 1e-6;
        auto loss = [&](double v) { return value_term(v, 0, p.ret, 0.5).loss; };
        ValueTerm at = value_term(p.value, 0, p.ret, 0.5);
        EXPECT_EQ(at.dvalue != 0, p.alive) << p.value << " " << p.ret;
        EXPECT_TRUE(close(at.dvalue, (loss(p.value + h) - loss(p.value - h)) / (2 * h), 1e-9));
        double clipped = std::clamp(p.value, -0.5, 0.5) - p.ret, plain = p.value - p.ret;
        EXPECT_TRUE(close(at.loss, 0.5 * std::max(clipped * clipped, plain * plain), 1e-15));
    }
    EXPECT_EQ(value_term(5, 0, 1, 0).dvalue, 4) << "0: no clip";
}

// Where a gradient is stopped the loss is differentiated with that factor frozen.
TEST(Gradient, CispoAndGspoTokenWithTheirStoppedFactors) {
    for (const char* name : {"cispo", "gspo_token"}) {
        SCOPED_TRACE(name);
        Rollouts r = random_rollouts(23);
        AlgoConfig algo = preset_algorithm(name);
        algo.ratio_cap = 1.2, algo.clip_eps_low = 0.1, algo.clip_eps_high = 0.15;
        Advantages advantage = advantages(r, algo);
        for (int64_t n = 0; n < r.tokens(); ++n)
            advantage.token[n] += r.credit[n]; // varies by token
        Selection kept = select(r, advantage, algo, SelectConfig());
        Weights weights = weigh(r, kept, algo, Denominator::of_aggregation);
        BatchLoss got = batch_loss(r, kept, weights, algo);
        LossParts parts = got.parts;
        BatchGrads grads = got.grads;
        EXPECT_GT(parts.clipped, 0);
        const std::vector<double> frozen = r.logp;
        auto loss = [&] {
            double sum = 0;
            for (int i = 0; i < r.completions(); ++i) {
                double mean = 0;
                for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n)
                    mean += (frozen[n] - r.logp_old[n]) / (double)r.length(i);
                for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n) {
                    double A = kept.A.token[n], w = weights.policy[n];
                    if (algo.preset == "cispo") {
                        double factor = std::min(std::exp(frozen[n] - r.logp_old[n]), 1.2);
                        sum -= w * factor * A * r.logp[n];
                    } else {
                        double s = std::exp(mean) * std::exp(r.logp[n] - frozen[n]);
                        sum -= w * std::min(s * A, std::clamp(s, 0.9, 1.15) * A);
                    }
                }
            }
            return sum;
        };
        EXPECT_TRUE(close(loss(), parts.policy, 1e-13));
        EXPECT_TRUE(differences(r.logp, grads.dlogp, loss) <= 1e-8);
    }
}

TEST(Gradient, DpoByEveryToken) {
    Rng rng(3);
    std::vector<double> chosen(4), chosen_ref(4), rejected(3), rejected_ref(3);
    for (auto* side : {&chosen, &chosen_ref, &rejected, &rejected_ref})
        for (double& x : *side) x = -1 + 0.5 * rng.normal();
    for (double smoothing : {0.0, 0.2}) {
        auto loss = [&] {
            return dpo_loss(chosen, chosen_ref, rejected, rejected_ref, 0.7, smoothing).loss;
        };
        DpoTerm at = dpo_loss(chosen, chosen_ref, rejected, rejected_ref, 0.7, smoothing);
        EXPECT_TRUE(differences(chosen, std::vector<double>(4, at.dchosen), loss) <= 1e-8);
        EXPECT_TRUE(differences(rejected, std::vector<double>(3, at.drejected), loss) <= 1e-8);
        EXPECT_TRUE(close(at.margin, at.reward_chosen - at.reward_rejected, 1e-15));
    }
    std::vector<double> far{900.0}, zero{0.0};
    EXPECT_TRUE(close(dpo_loss(zero, zero, far, zero, 1, 0).loss, 900, 1e-12)) << "no overflow";
}

// Any cut of the batch gives the same gradient: row terms depend on the row and on weights fixed before.
TEST(Gradient, MicroBatchesGiveTheBatch) {
    for (const char* name : {"grpo", "gspo", "ppo", "dapo"}) {
        Rollouts r = random_rollouts(29);
        AlgoConfig algo = preset_algorithm(name);
        algo.entropy_coef = 0.1;
        Selection kept = select(r, advantages(r, algo), algo, SelectConfig());
        Weights weights = weigh(r, kept, algo, Denominator::of_aggregation);
        BatchLoss batch = batch_loss(r, kept, weights, algo);
        LossParts whole = batch.parts;
        BatchGrads grads = batch.grads;
        for (int parts : {1, 2, 4}) {
            double sum = 0;
            for (int part = 0; part < parts; ++part) {
                LossParts share;
                for (int i = part * r.completions() / parts;
                     i < (part + 1) * r.completions() / parts; ++i) {
                    std::vector<double> dlogp(r.length(i)), dentropy(r.length(i)),
                        dvalue(r.length(i));
                    share.add(completion_loss(completion_view(r, kept, weights, i), algo,
                                              {dlogp, dentropy, dvalue}));
                    for (int64_t t = 0; t < r.length(i); ++t) {
                        EXPECT_EQ(dlogp[t], grads.dlogp[r.offset[i] + t]);
                        EXPECT_EQ(dentropy[t], grads.dentropy[r.offset[i] + t]);
                        EXPECT_EQ(dvalue[t], grads.dvalue[r.offset[i] + t]);
                    }
                }
                sum += share.total();
            }
            EXPECT_TRUE(close(sum, whole.total(), 1e-14)) << name << " in " << parts;
        }
    }
}

// A bound is its own inside: the gradient is alive on it and ends right behind it.
TEST(Gradient, TheSurrogatesBoundsLieWhereTheSettingsSay) {
    const double low = 0.1, high = 0.3, dual = 3, h = 1e-9;
    auto clipped = [&](double ratio, double A) {
        return clipped_surrogate(ratio, A, low, high, dual).clipped;
    };
    EXPECT_FALSE(clipped(1 + high, 1));
    EXPECT_TRUE(clipped(1 + high + h, 1));
    EXPECT_FALSE(clipped(1 - low, -1));
    EXPECT_TRUE(clipped(1 - low - h, -1));
    EXPECT_FALSE(clipped(dual, -1));
    EXPECT_TRUE(clipped(dual + h, -1));
}
