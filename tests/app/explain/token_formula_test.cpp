// The formula that a page shows says what the loss computes.

#include "app/explain/token_formula.h"

#include "app/explain/stored_update.h"
#include "testing.h"

TEST(TokenFormula, GivesTheGradientOfEveryAlgorithm) {
    for (const Algorithm& row : algorithm_table())
        for (Kl kl : {Kl::none, Kl::k1, Kl::k3, Kl::k3_ratio}) {
            UpdateConfig config;
            config.rollouts = "tests/golden/rl/rows.jsonl";
            config.algo = preset_algorithm(row.name);
            if (kl != Kl::none) config.algo.kl = kl, config.algo.kl_in = KlIn::loss;
            if (kl != Kl::none) config.algo.kl_coef = 0.1;
            if (config.algo.max_length_norm == 0) config.algo.max_length_norm = 8;
            StoredUpdate update = stored_update(config);
            const Rollouts& r = update.stored.batch;
            for (int i = 0; i < r.completions(); ++i)
                for (int t = 0; t < r.length(i); ++t) {
                    TokenFormula formula =
                        token_formula(r, update.kept, update.weights, config.algo, i, t);
                    double want = update.loss.grads.dlogp[r.offset[i] + t];
                    ASSERT_TRUE(close(formula.dlogp, want, 1e-12))
                        << row.name << " " << name_of(kl) << ": " << formula.text << "\nwanted "
                        << want;
                }
            EXPECT_FALSE(algorithm_formula(config.algo).empty());
        }
}

TEST(TokenFormula, FillsInTheValues) {
    Rollouts r;
    r.offset = {0, 1, 2}, r.group = {0, 0}, r.groups = 1, r.reward = {1, 0};
    r.logp_old = {-1, -1}, r.logp = {-0.5, -1};
    Selection kept;
    kept.A.token = kept.A.completion = {2, -2};
    kept.completion = kept.token = {1, 1};
    Weights weights{{0.5, 0.5}, {0.5, 0.5}};
    AlgoConfig algo = preset_algorithm("grpo");
    EXPECT_EQ(token_formula(r, kept, weights, algo, 0, 0).text,
              "r = exp(-0.5 - -1) = 1.6487\nr in [0.8, 1.2]: no, clipped, gradient 0\n"
              "-w r A a = -0.5 * 1.6487 * 2 * 0 = 0\ndL/dlogp = 0");
    EXPECT_EQ(token_formula(r, kept, weights, algo, 1, 0).text,
              "r = exp(-1 - -1) = 1\nr in [0.8, 1.2]: yes\n"
              "-w r A a = -0.5 * 1 * -2 * 1 = 1\ndL/dlogp = 1");
}
