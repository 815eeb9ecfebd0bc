// Advantages by hand, and the identities between algorithms (spec 3.3).

#include "rl/advantage.h"
#include "rl/aggregation.h"
#include "rl/loss.h"
#include "rl/select.h"
#include "testing.h"

#include <algorithm>

namespace {
Rollouts rollouts_of(const std::vector<std::vector<double>>& rewards, int length) {
    Rollouts r;
    for (const std::vector<double>& group : rewards) {
        for (double reward : group) {
            r.group.push_back(r.groups);
            r.reward.push_back(reward);
            r.offset.push_back(r.offset.back() + length);
        }
        ++r.groups;
    }
    Rng rng(2);
    for (int64_t n = 0; n < r.tokens(); ++n) {
        r.logp_old.push_back(-1 + 0.3 * rng.normal());
        r.logp_ref.push_back(r.logp_old[n] + 0.2 * rng.normal());
        r.value_old.push_back(rng.normal());
    }
    r.logp = r.logp_old;
    r.value = r.value_old;
    r.credit.assign(r.tokens(), 0);
    return r;
}
} // namespace

TEST(Advantage, ByHand) {
    Rollouts r = rollouts_of({{1, 0, 0, 1}, {4, 1}}, 2);
    double std = std::sqrt(1.0 / 3); // unbiased, of {1, 0, 0, 1}
    Advantages grpo = advantages(r, preset_algorithm("grpo"));
    EXPECT_NEAR(grpo.completion[0], 0.5 / (std + 1e-6), 1e-15);
    EXPECT_NEAR(grpo.completion[5], -1.5 / (std::sqrt(4.5) + 1e-6), 1e-15);
    EXPECT_EQ(advantages(r, preset_algorithm("dr_grpo")).completion,
              (std::vector<double>{.5, -.5, -.5, .5, 1.5, -1.5}));
    Advantages rloo = advantages(r, preset_algorithm("rloo"));
    EXPECT_NEAR(rloo.completion[0], 1 - 1.0 / 3, 1e-15);
    EXPECT_NEAR(rloo.completion[4], 3, 1e-15);
    Advantages reinforce = advantages(r, preset_algorithm("reinforce"));
    EXPECT_NEAR(reinforce.completion[4], 4 - 7.0 / 6, 1e-15);
    for (int64_t n = 0; n < r.tokens(); ++n) EXPECT_EQ(grpo.token[n], grpo.completion[n / 2]);
}

TEST(Advantage, MovingAverageBaseline) {
    Rollouts r = rollouts_of({{1, 0}, {3, 0}}, 1);
    AlgoConfig algo = preset_algorithm("reinforce");
    algo.advantage.baseline = Baseline::ema, algo.advantage.ema = 0.5;
    EXPECT_EQ(advantages(r, algo).token, (std::vector<double>{.5, -.5, 2.5, -.5}));
    EXPECT_NEAR(advantages(r, algo).ema, 0.9 * 0.5 + 0.1 * 1, 1e-15);
    EXPECT_EQ(advantages(r, algo, 2).token[0], -1)
        << "the run's own average, not the configured start";
}

TEST(Advantage, SilentGroupsAreExactlyZeroAndCounted) {
    // 0.1 three times: its mean is not 0.1 in binary, so a plain difference would leave dust.
    Rollouts r = rollouts_of({{.1, .1, .1}, {5}, {9, 0}, {.3, .3}}, 3);
    for (const char* name : {"grpo", "dr_grpo", "dapo", "gspo", "gspo_token", "cispo", "rloo",
                             "reinforce_pp_baseline", "trl", "verl"}) {
        Advantages plan = advantages(r, preset_algorithm(name));
        SCOPED_TRACE(name);
        for (int i : {0, 1, 2, 3, 6, 7})
            for (double A : tokens_of(plan.token, r, i)) EXPECT_EQ(A, 0.0);
        for (double A : tokens_of(plan.token, r, 4)) EXPECT_GT(A, 0.1);
        EXPECT_EQ(plan.single_groups, 1);
        EXPECT_EQ(plan.equal_groups, 2);
    }
}

TEST(Advantage, GaeByHand) {
    // gamma 0.9, lambda 0.5; rho 0, 0, 1; V 0.2, 0.4, 0.6:
    // delta_2 = 1 - 0.6 = 0.4, delta_1 = 0.9*0.6 - 0.4 = 0.14, delta_0 = 0.9*0.4 - 0.2 = 0.16
    double A[3], ret[3], rho[] = {0, 0, 1}, value[] = {.2, .4, .6};
    gae(A, ret, rho, value, 0.9, 0.5);
    EXPECT_NEAR(A[2], 0.4, 1e-15);
    EXPECT_NEAR(A[1], 0.14 + 0.45 * 0.4, 1e-15);
    EXPECT_NEAR(A[0], 0.16 + 0.45 * 0.32, 1e-15);
    for (int t = 0; t < 3; ++t) EXPECT_NEAR(ret[t], A[t] + value[t], 1e-15);
    // gamma = lambda = 1 telescopes: A_t = R - V_t, ret_t = R. lambda = 0: the one-step error.
    gae(A, ret, rho, value, 1, 1);
    for (int t = 0; t < 3; ++t) EXPECT_NEAR(A[t], 1 - value[t], 1e-15);
    gae(A, ret, rho, value, 0.9, 0);
    EXPECT_NEAR(A[1], 0.14, 1e-15);
}

TEST(Advantage, PpoReturnsAreUnwhitened) {
    Rollouts r = rollouts_of({{1, 0, 2}, {0.5}}, 4);
    Advantages plan = advantages(r, preset_algorithm("ppo"));
    double sum = 0, squares = 0;
    for (double A : plan.token) sum += A, squares += A * A;
    EXPECT_NEAR(sum, 0, 1e-12);
    EXPECT_NEAR(squares / (double)plan.token.size(), 1, 1e-7); // 1e-8 under the root
    for (int64_t n = 0; n < r.tokens(); ++n) EXPECT_NEAR(plan.ret[n], r.reward[n / 4], 1e-14);
}

TEST(Advantage, RewardToGoCarriesKlAndCredit) {
    Rollouts r = rollouts_of({{1}}, 3);
    r.logp_old = {-1, -1, -1}, r.logp_ref = {-1.5, -1, -0.5}, r.credit = {0, 10, 0};
    AlgoConfig algo = preset_algorithm("reinforce_pp");
    algo.advantage.whiten = Std::none, algo.advantage.credit_weight = 0.1, algo.gamma = 0.5;
    // rho = -0.01 (0.5, 0, -0.5) + 0.1 credit + [last] 1 = -0.005, 1, 1.005
    Advantages plan = advantages(r, algo);
    EXPECT_NEAR(plan.token[2], 1.005, 1e-15);
    EXPECT_NEAR(plan.token[1], 1 + 0.5025, 1e-15);
    EXPECT_NEAR(plan.token[0], -0.005 + 0.75125, 1e-15);
}

TEST(Advantage, ATokensOwnCreditLessKlAndValue) {
    Rollouts r = rollouts_of({{2, 0}}, 3);
    r.credit = {1, -1, 0.5, 2, 0, -2};
    Advantages reinforce = advantages(r, preset_algorithm("reinforce_qrm"));
    for (int n = 0; n < 6; ++n)
        EXPECT_EQ(reinforce.token[n], (n < 3 ? 2 : 0) + r.credit[n]); // and the outcome, if any
    EXPECT_TRUE(reinforce.ret.empty());

    AlgoConfig algo = preset_algorithm("ppo_qrm");
    Advantages ppo = advantages(r, algo);
    for (int n = 0; n < 6; ++n) {
        double ret = (n < 3 ? 2 : 0) + r.credit[n] - 0.01 * (r.logp_old[n] - r.logp_ref[n]);
        EXPECT_NEAR(ppo.ret[n], ret, 1e-15);
        EXPECT_NEAR(ppo.token[n], ret - r.value_old[n], 1e-15);
    }

    algo = preset_algorithm("ppo_qrm_code");
    Advantages code = advantages(r, algo);
    double mean = 0, square = 0;
    for (double v : r.value_old) mean += v / 6;
    for (double v : r.value_old) square += (v - mean) * (v - mean) / 6;
    for (int n = 0; n < 6; ++n) {
        double kl = std::abs(r.logp_old[n] - r.logp_ref[n]);
        double ret = (n < 3 ? 2 : 0) + r.credit[n] - 0.01 * kl;
        EXPECT_NEAR(code.ret[n], ret, 1e-15);
        EXPECT_NEAR(code.token[n], ret - 0.01 * r.value_old[n] / std::sqrt(square), 1e-13);
    }
    r.value_old.assign(6, 3); // a critic that says the same of everything is no baseline
    EXPECT_EQ(advantages(r, algo).token, code.ret);
}

TEST(Advantage, KlInTheRewardOfACompletionIsItsSum) {
    Rollouts r = rollouts_of({{1, 0}}, 2);
    r.logp_old = {-1, -1, -1, -1}, r.logp_ref = {-2, -1.5, -1, -1};
    AlgoConfig algo = preset_algorithm("rloo");
    algo.kl = Kl::k1, algo.kl_in = KlIn::reward, algo.kl_coef = 0.1;
    EXPECT_NEAR(advantages(r, algo).completion[0], 1 - 0.15, 1e-15);
}

TEST(Advantage, OverlongPenaltyOfDapo) {
    // L_max 10, cache 4: nothing up to 6 tokens, then a quarter per token, 1 from 10 on
    AlgoConfig algo = preset_algorithm("dapo");
    algo.overlong_length = 10, algo.overlong_cache = 4;
    for (auto [length, penalty] : {std::pair{5, 0.0}, {6, 0.0}, {7, .25}, {10, 1.0}, {13, 1.0}})
        EXPECT_EQ(shaped_rewards(rollouts_of({{2}}, length), algo)[0], 2 - penalty);
}

TEST(Advantage, WhiteningAndClip) {
    std::vector<double> A = {1, 2, 3, 6}, B = A;
    whiten(A, false, 0);
    EXPECT_NEAR(A[3], 3 / std::sqrt(3.5), 1e-15);
    whiten(B, true, 0);
    EXPECT_NEAR(B[3], 3 / std::sqrt(14.0 / 3), 1e-15);
    Rollouts r = rollouts_of({{0, 0, 0, 0, 0, 0, 0, 100}}, 1);
    AlgoConfig algo = preset_algorithm("grpo");
    algo.advantage.clip = 1.5;
    EXPECT_EQ(advantages(r, algo).token[7], 1.5);
}

// Spec 3.3 (1): on-policy, r = 1: g = -A w for all of them.
TEST(Identity, OnPolicyEveryGradientIsMinusAdvantageTimesWeight) {
    Rollouts r = rollouts_of({{1, 0, 0.3}, {2, 0, 1}}, 3);
    for (const Algorithm& row : algorithm_table()) {
        AlgoConfig algo = preset_algorithm(row.name);
        algo.max_length_norm = 5;
        if (algo.kl_in == KlIn::loss) algo.kl = Kl::none;
        Selection kept = select(r, advantages(r, algo), algo, SelectConfig());
        Weights w = weigh(r, kept, algo, Denominator::of_aggregation);
        BatchLoss loss = batch_loss(r, kept, w, algo);
        EXPECT_EQ(loss.parts.clipped, 0);
        for (int64_t n = 0; n < r.tokens(); ++n)
            EXPECT_TRUE(close(loss.grads.dlogp[n], -kept.A.token[n] * w.policy[n], 1e-15))
                << row.name;
    }
}

// Spec 3.3 (3).
TEST(Identity, BinaryRewardsOfGrpo) {
    for (int right = 1; right < 8; ++right) {
        std::vector<double> rewards(8, 0.0);
        std::fill_n(rewards.begin(), right, 1.0);
        Advantages plan = advantages(rollouts_of({rewards}, 1), preset_algorithm("grpo"));
        EXPECT_NEAR(plan.completion[0] / plan.completion[7], -(8.0 - right) / right, 1e-12);
        double sum = 0;
        for (double A : plan.completion) sum += A;
        EXPECT_NEAR(sum, 0, 1e-14);
    }
}

// Spec 3.3 (4).
TEST(Identity, RlooIsDrGrpoTimesGOverGMinusOne) {
    Rollouts r = rollouts_of({{1, 0, 0.3, 7}, {2, -1}}, 2);
    Advantages rloo = advantages(r, preset_algorithm("rloo"));
    Advantages dr = advantages(r, preset_algorithm("dr_grpo"));
    for (int i = 0; i < r.completions(); ++i) {
        double G = i < 4 ? 4 : 2;
        EXPECT_NEAR(rloo.completion[i], G / (G - 1) * dr.completion[i], 1e-14);
    }
}

// Spec 3.3 (5): group_tokens without credit and with equal lengths is GRPO with the population std.
TEST(Identity, GroupTokensWithoutCreditIsGrpo) {
    Rollouts r = rollouts_of({{1, 0, 0.3, 7}, {2, -1}}, 3);
    AlgoConfig capo = preset_algorithm("grpo");
    capo.advantage.std = Std::population;
    AlgoConfig grpo = capo;
    capo.advantage.estimator = Estimator::group_tokens;
    Advantages a = advantages(r, capo), b = advantages(r, grpo);
    for (int64_t n = 0; n < r.tokens(); ++n) EXPECT_NEAR(a.token[n], b.token[n], 1e-14);
}

// Spec 5: rewards {2 x 100}, {2 x 80, 1 x 20}, {0 x 50, -1 x 50} twice.
TEST(Identity, CapoVector) {
    // Not written as {2, 2, 0, 0}: GCC 12 with AVX-512 (SLP vectoriser) makes {2, 2, 2, 2} of it here.
    std::vector<double> rewards;
    for (int i = 0; i < 4; ++i) rewards.push_back(i < 2 ? 2 : 0);
    Rollouts r = rollouts_of({rewards}, 100);
    for (int n = 180; n < 200; ++n) r.credit[n] = -1;
    for (int n = 0; n < 50; ++n) r.credit[250 + n] = r.credit[350 + n] = -1;
    AlgoConfig algo = preset_algorithm("grpo");
    algo.advantage.estimator = Estimator::group_tokens, algo.advantage.credit_weight = 1;
    Advantages plan = advantages(r, algo);
    EXPECT_NEAR(plan.token[0], 1.02, 5e-3);
    EXPECT_NEAR(plan.token[190], .24, 5e-3);
    EXPECT_NEAR(plan.token[200], -.55, 5e-3);
    EXPECT_NEAR(plan.token[399], -1.34, 5e-3);
}

TEST(Identity, GspoIsGspoTokenWhereAdvantagesAreConstant) {
    Rollouts r = rollouts_of({{1, 0, 0.3}, {2, -1}}, 4);
    Rng rng(9);
    for (double& x : r.logp) x += 0.05 * rng.normal();
    BatchLoss loss[2];
    for (int k = 0; k < 2; ++k) {
        AlgoConfig algo = preset_algorithm(k ? "gspo_token" : "gspo");
        algo.clip_eps_low = algo.clip_eps_high = 0.02;
        Selection kept = select(r, advantages(r, algo), algo, SelectConfig());
        loss[k] = batch_loss(r, kept, weigh(r, kept, algo, Denominator::of_aggregation), algo);
    }
    EXPECT_EQ(loss[0].parts.total(), loss[1].parts.total());
    EXPECT_EQ(loss[0].grads.dlogp, loss[1].grads.dlogp);
}
