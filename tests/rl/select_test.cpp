// D3S: exact max-variance selection against brute force, the closed form for 0/1 rewards, token keys, schedule,
// weights, and that selecting everything is the host algorithm, bit for bit.

#include "rl/advantage.h"
#include "rl/aggregation.h"
#include "rl/loss.h"
#include "rl/select.h"
#include "testing.h"

#include <algorithm>

namespace {
double variance_of(std::span<const double> a, const std::vector<int>& chosen) {
    double mean = 0, var = 0, m = (double)chosen.size();
    for (int i : chosen) mean += a[i] / m;
    for (int i : chosen) var += (a[i] - mean) * (a[i] - mean) / m;
    return var;
}

double brute_force_variance(std::span<const double> a, int m) {
    double best = -1;
    for (int bits = 0; bits < 1 << a.size(); ++bits) {
        if (__builtin_popcount((unsigned)bits) != m) continue;
        std::vector<int> chosen;
        for (int i = 0; i < (int)a.size(); ++i)
            if (bits >> i & 1) chosen.push_back(i);
        best = std::max(best, variance_of(a, chosen));
    }
    return best;
}

Rollouts rollouts_of(const std::vector<std::vector<double>>& rewards, uint64_t seed,
                     int longest = 5) {
    Rng rng(seed);
    Rollouts r;
    for (const std::vector<double>& group : rewards) {
        for (double reward : group) {
            r.group.push_back(r.groups);
            r.reward.push_back(reward);
            r.offset.push_back(r.offset.back() + 1 + rng.below(longest));
        }
        ++r.groups;
    }
    for (int64_t n = 0; n < r.tokens(); ++n) {
        r.logp_old.push_back(-1 + 0.3 * rng.normal());
        r.logp.push_back(r.logp_old[n] + 0.1 * rng.normal());
        r.logp_ref.push_back(r.logp_old[n] + 0.1 * rng.normal());
        r.entropy.push_back(rng.uniform());
    }
    return r;
}

// Four prompts, six completions each.
Rollouts random_rollouts(uint64_t seed) {
    Rng rng(seed, 1);
    std::vector<std::vector<double>> rewards(4);
    for (auto& group : rewards)
        for (int k = 0; k < 6; ++k) group.push_back(rng.normal());
    return rollouts_of(rewards, seed);
}

Selection selected(const Rollouts& r, const AlgoConfig& algo, const SelectConfig& choice,
                   int64_t step = 0) {
    return select(r, advantages(r, algo), algo, choice, step);
}

Selection selected(const Rollouts& r, const char* preset, const SelectConfig& choice) {
    return selected(r, preset_algorithm(preset), choice);
}

SelectConfig mode(SelectMode name, double keep) {
    SelectConfig select;
    select.mode = name;
    select.keep_samples = {keep, keep};
    return select;
}

SelectConfig tokens(double keep) {
    SelectConfig select;
    select.keep_tokens = {keep, keep};
    return select;
}

template <class Flags> int64_t count(const Flags& flags) {
    return std::count(flags.begin(), flags.end(), 1);
}
} // namespace

TEST(MaxVariance, EqualsBruteForceAlsoWithTies) {
    Rng rng(5);
    for (int trial = 0; trial < 1500; ++trial) {
        int n = 1 + rng.below(9), m = 1 + rng.below(n);
        std::vector<double> a(n);
        for (double& x : a) x = trial % 2 ? rng.normal() : rng.below(4) - 1.5; // every second: ties
        std::vector<int> chosen = max_variance_subset(a, m);
        ASSERT_EQ((int)chosen.size(), m);
        ASSERT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
        ASSERT_EQ(std::adjacent_find(chosen.begin(), chosen.end()), chosen.end());
        ASSERT_NEAR(variance_of(a, chosen), brute_force_variance(a, m), 1e-12);
        // Exchange form: no swap of one member raises the variance.
        double c = 0;
        for (int i : chosen) c += a[i] / m;
        for (int i : chosen)
            for (int j = 0; j < n; ++j)
                if (std::find(chosen.begin(), chosen.end(), j) == chosen.end()) {
                    double d = a[j] - a[i];
                    ASSERT_LE(d * (a[j] + a[i] - 2 * c) - d * d / m, 1e-12);
                }
    }
}

TEST(MaxVariance, SpecVectors) {
    std::vector<double> a = {1, 1, -1, -1};
    EXPECT_NEAR(variance_of(a, max_variance_subset(a, 3)), 8.0 / 9, 1e-15);
    EXPECT_EQ(max_variance_subset(a, 3), (std::vector<int>{1, 2, 3})) << "of equals the smallest k";
    EXPECT_EQ(max_variance_subset(a, 2), (std::vector<int>{0, 3})) << "equal values go by index";
    EXPECT_EQ(max_variance_subset(a, 4), (std::vector<int>{0, 1, 2, 3}));
    EXPECT_EQ(max_variance_subset(a, 9), (std::vector<int>{0, 1, 2, 3}));
    // A large offset does not cost digits.
    std::vector<double> b = {1e8 + 1, 1e8 + 0.5, 1e8, 1e8 - 1};
    EXPECT_EQ(max_variance_subset(b, 2), (std::vector<int>{0, 3}));
}

// n_+ of n right, p = n_+/n: the optimum keeps k right ones, k nearest m/2 in [m - n_-, min(m, n_+)], and
// Var = (k/m)(1 - k/m) / (p (1 - p)) in population-normalised advantages.
TEST(MaxVariance, BinaryClosedForm) {
    for (int n = 2; n <= 9; ++n)
        for (int right = 1; right < n; ++right)
            for (int m = 2; m <= n; ++m) {
                std::vector<double> reward(n, 0.0);
                std::fill_n(reward.begin(), right, 1.0);
                std::vector<double> A = normalise(reward, Std::population, 0);
                int low = std::max(0, m - (n - right)), high = std::min(m, right);
                int k = std::clamp(m / 2, low, high); // m odd: (m-1)/2 and (m+1)/2 are as good
                double share = (double)k / m, p = (double)right / n;
                EXPECT_NEAR(variance_of(A, max_variance_subset(A, m)),
                            share * (1 - share) / (p * (1 - p)), 1e-12);
            }
}

TEST(MaxVariance, PermutationInvariant) {
    Rng rng(8);
    std::vector<double> a(50), first, second;
    for (double& x : a) x = rng.normal();
    for (int i : max_variance_subset(a, 20)) first.push_back(a[i]);
    rng.shuffle(a);
    for (int i : max_variance_subset(a, 20)) second.push_back(a[i]);
    std::sort(first.begin(), first.end());
    std::sort(second.begin(), second.end());
    EXPECT_EQ(first, second);
}

TEST(Select, EverythingKeptIsTheHostAlgorithmBitForBit) {
    Rollouts r = random_rollouts(11);
    for (const char* preset : {"grpo", "gspo", "gspo_token", "dapo", "dr_grpo", "rloo", "cispo"})
        for (SelectMode name : {SelectMode::intra, SelectMode::cross, SelectMode::intra_then_cross,
                                SelectMode::cppo, SelectMode::random}) {
            AlgoConfig algo = preset_algorithm(preset);
            algo.kl = Kl::k3, algo.kl_coef = 0.1, algo.entropy_coef = 0.01,
            algo.max_length_norm = 8;
            SelectConfig everything = mode(name, 6); // G = 6
            everything.keep_samples_intra = {6, 6};
            Selection host = selected(r, algo, SelectConfig()), d3s = selected(r, algo, everything);
            Weights host_weights = weigh(r, host, algo, Denominator::of_aggregation),
                    weights = weigh(r, d3s, algo, Denominator::of_aggregation);
            BatchLoss host_loss = batch_loss(r, host, host_weights, algo);
            BatchLoss d3s_loss = batch_loss(r, d3s, weights, algo);
            EXPECT_EQ(host_loss.parts.total(), d3s_loss.parts.total())
                << preset << " " << name_of(name);
            EXPECT_EQ(host_loss.grads.dlogp, d3s_loss.grads.dlogp);
            EXPECT_EQ(host_loss.grads.dentropy, d3s_loss.grads.dentropy);
            EXPECT_EQ(host_weights.policy, weights.policy);
        }
}

TEST(Select, IntraAndCross) {
    Rollouts r = random_rollouts(12);
    Selection intra = selected(r, "grpo", mode(SelectMode::intra, 2));
    for (const std::vector<int>& rows : completions_by_group(r)) {
        // Two of a group: its largest and its smallest.
        auto by_reward = [&](int i, int j) { return r.reward[i] < r.reward[j]; };
        auto [low, high] = std::minmax_element(rows.begin(), rows.end(), by_reward);
        for (int i : rows) EXPECT_EQ(intra.completion[i], i == *low || i == *high);
    }
    Selection cross = selected(r, "grpo", mode(SelectMode::cross, 2.5));
    EXPECT_EQ(count(cross.completion), 10); // round(2.5 * 4 prompts)
    for (int i : max_variance_subset(cross.A.completion, 10)) EXPECT_TRUE(cross.completion[i]);
    EXPECT_EQ(cross.A.token, intra.A.token) << "selection does not normalise again";

    SelectConfig both = mode(SelectMode::intra_then_cross, 1.5);
    both.keep_samples_intra = {4, 4};
    Selection mixed = selected(r, "grpo", both),
              four = selected(r, "grpo", mode(SelectMode::intra, 4));
    EXPECT_EQ(count(mixed.completion), 6);
    for (int i = 0; i < r.completions(); ++i) EXPECT_LE(mixed.completion[i], four.completion[i]);

    Rollouts small = rollouts_of({{1, 0}, {1, 0, 0.5, 0.25, 2}}, 4);
    Selection plan = selected(small, "grpo", mode(SelectMode::intra, 4));
    EXPECT_TRUE(plan.completion[0] && plan.completion[1]) << "a smaller group stays whole";
    EXPECT_EQ(count(plan.completion), 6);
    EXPECT_EQ(count(selected(small, "grpo", mode(SelectMode::intra, 1)).completion), 4)
        << "at least 2 of a group";
}

// Of one prompt's rewards the rule's two sides stay, whatever the judges' credit would have said.
TEST(Select, ChosenByTheRuleBeforeAnythingElseIsKnown) {
    Rollouts r = rollouts_of({{9, 9, 9, 9}, {0, 9, 0, 9}}, 4);
    const std::vector<double> rule = {0, 0, 0, 1, 1, 1, 0, 1};
    AlgoConfig algo = preset_algorithm("capo");
    SelectConfig config;
    config.mode = SelectMode::intra, config.keep_samples = {2, 2}, config.before_judging = true;
    const std::vector<uint8_t> chosen = chosen_by_rule(r, rule, algo, config, 1);
    for (int g = 0; g < 2; ++g) {
        double right = 0, count = 0;
        for (int i = 4 * g; i < 4 * g + 4; ++i) count += chosen[i], right += chosen[i] * rule[i];
        EXPECT_EQ(count, 2);
        EXPECT_EQ(right, 1);
    }
    EXPECT_EQ(select(r, advantages(r, algo), algo, config, 1, chosen).completion, chosen);
}

TEST(Select, PodsNormalisesTheKept) {
    Rollouts r = rollouts_of({{0, 1, 2, 10}, {1, 1, 1, 1}}, 3);
    Selection plan = selected(r, "grpo", mode(SelectMode::pods, 2));
    EXPECT_EQ(std::vector<uint8_t>(plan.completion.begin(), plan.completion.begin() + 4),
              (std::vector<uint8_t>{1, 0, 0, 1}));
    double std = std::sqrt(50.0); // unbiased, of {0, 10}
    EXPECT_NEAR(plan.A.completion[3], 5 / (std + 1e-6), 1e-14);
    EXPECT_EQ(plan.A.completion[1], 0);
    EXPECT_EQ(plan.A.completion[4], 0) << "equal rewards";
    EXPECT_EQ(plan.A.token[r.offset[3]], plan.A.completion[3]);
}

TEST(Select, CppoKeepsTheLargestAndRandomIsARandomSubset) {
    Rollouts r = rollouts_of({{0, 1, 2, 10, 1.5}}, 3);
    EXPECT_EQ(selected(r, "grpo", mode(SelectMode::cppo, 2)).completion,
              (std::vector<uint8_t>{1, 0, 0, 1, 0}));
    Rollouts many = random_rollouts(14);
    AlgoConfig algo = preset_algorithm("grpo");
    SelectConfig random = mode(SelectMode::random, 3);
    Selection a = selected(many, algo, random, 1);
    for (const std::vector<int>& rows : completions_by_group(many))
        EXPECT_EQ(std::count_if(rows.begin(), rows.end(), [&](int i) { return a.completion[i]; }),
                  3);
    EXPECT_EQ(a.completion, selected(many, algo, random, 1).completion) << "the same step";
    EXPECT_NE(a.completion, selected(many, algo, random, 2).completion);
}

TEST(Select, DropZero) {
    Rollouts r = rollouts_of({{1, 1, 1}, {1, 0, 0.5}, {7}}, 3);
    SelectConfig select;
    select.drop_zero = true;
    Selection plan = selected(r, "grpo", select);
    EXPECT_EQ(plan.completion,
              (std::vector<uint8_t>{0, 0, 0, 1, 1, 0, 0})); // 0.5 is the mean: A = 0
    EXPECT_EQ(plan.A.equal_groups, 1);
    EXPECT_EQ(plan.A.single_groups, 1);
    EXPECT_EQ(count(plan.token), r.length(3) + r.length(4));
    // Cross without drop_zero fills up with zeros, with it does not.
    SelectConfig cross = mode(SelectMode::cross, 2);
    EXPECT_EQ(count(selected(r, "grpo", cross).completion), 6);
    cross.drop_zero = true;
    EXPECT_EQ(count(selected(r, "grpo", cross).completion), 2);
}

TEST(Select, TokensByKeyOverTheBatchAndPerResponse) {
    Rollouts r = rollouts_of({{1, 0}, {3, 0, 0.5, 1}}, 9, 6);
    for (double K : {0.05, 0.3, 0.99}) {
        SelectConfig select = tokens(K);
        Selection plan = selected(r, "grpo", select);
        EXPECT_EQ(count(plan.token), std::max(1.0, std::ceil(K * (double)r.tokens())));
        double least_kept = 1e9, most_dropped = -1;
        for (int64_t n = 0; n < r.tokens(); ++n) {
            double key = std::abs(plan.A.token[n]) * r.entropy[n];
            if (plan.token[n])
                least_kept = std::min(least_kept, key);
            else
                most_dropped = std::max(most_dropped, key);
        }
        EXPECT_GE(least_kept, most_dropped);
        select.scope = TokenScope::response;
        plan = selected(r, "grpo", select);
        for (int i = 0; i < r.completions(); ++i)
            EXPECT_EQ(count(tokens_of(plan.token, r, i)),
                      std::max(1.0, std::ceil(K * (double)r.length(i))));
    }
}

TEST(Select, KeysOfZeroAreNeverKeptAndTiesGoByRowThenToken) {
    Rollouts r = rollouts_of({{1, 1}, {1, 0}}, 2, 4);
    Selection plan = selected(r, "grpo", tokens(0.999)); // asks for every token
    for (int64_t n = 0; n < r.tokens(); ++n) EXPECT_EQ(plan.token[n], n >= r.offset[2]);

    std::fill(r.entropy.begin(), r.entropy.end(), 0.5);
    SelectConfig select = tokens(0.5);
    select.token_key = TokenKey::entropy;
    plan = selected(r, "grpo", select);
    int64_t half = (int64_t)std::ceil(0.5 * (double)r.tokens());
    for (int64_t n = 0; n < r.tokens(); ++n) EXPECT_EQ(plan.token[n], n < half);
    select.token_key = TokenKey::none;
    EXPECT_EQ(count(selected(r, "grpo", select).token), r.tokens());
}

TEST(Select, WeightsOfEveryDenominator) {
    // Three rows of 2, 3 and 5 tokens; kept: rows 0 and 2, of row 0 one token, of row 2 two.
    Rollouts r;
    r.offset = {0, 2, 5, 10}, r.group = {0, 0, 0}, r.groups = 1, r.reward = {1, 2, 3};
    Selection kept;
    kept.completion = {1, 0, 1};
    kept.token = {1, 0, 0, 0, 0, 0, 1, 1, 0, 0};
    struct Want {
        Aggregation aggregation;
        Denominator denominator;
        double row0, row2, all0, all2; // weight of a kept token, weight_all
    };
    for (Want want :
         {Want{Aggregation::token_mean, Denominator::of_aggregation, 1. / 3, 1. / 3, 1. / 7,
               1. / 7},
          {Aggregation::token_mean, Denominator::all_selected_tokens, 1. / 7, 1. / 7, 1. / 7,
           1. / 7},
          {Aggregation::token_mean, Denominator::per_sequence, 1. / 2, 1. / 4, 1. / 4, 1. / 10},
          {Aggregation::seq_mean_token_mean, Denominator::of_aggregation, 1. / 2, 1. / 4, 1. / 4,
           1. / 10},
          {Aggregation::seq_mean_token_mean, Denominator::kept_tokens, 1. / 3, 1. / 3, 1. / 7,
           1. / 7},
          {Aggregation::seq_mean_token_sum, Denominator::of_aggregation, 1. / 2, 1. / 2, 1. / 2,
           1. / 2},
          {Aggregation::seq_mean_token_sum, Denominator::kept_tokens, 1. / 2, 1. / 2, 1. / 2,
           1. / 2},
          {Aggregation::seq_mean_token_sum_norm, Denominator::of_aggregation, 1. / 16, 1. / 16,
           1. / 16, 1. / 16}}) {
        AlgoConfig algo;
        algo.aggregation = want.aggregation, algo.max_length_norm = 8;
        Weights w = weigh(r, kept, algo, want.denominator);
        SCOPED_TRACE(name_of(want.aggregation));
        EXPECT_EQ(w.policy,
                  (std::vector<double>{want.row0, 0, 0, 0, 0, 0, want.row2, want.row2, 0, 0}));
        EXPECT_EQ(w.all[1], want.all0);
        EXPECT_EQ(w.all[3], 0);
        EXPECT_EQ(w.all[9], want.all2);
    }
    // A kept row without a kept token leaves I of the policy term.
    kept.token = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    AlgoConfig algo = preset_algorithm("grpo");
    EXPECT_EQ(weigh(r, kept, algo, Denominator::of_aggregation).policy[0], 1);
    // A minibatch has its own I.
    kept.token.assign(10, 1);
    Weights w = weigh(r, kept, algo, Denominator::of_aggregation, std::vector<int>{0});
    EXPECT_EQ(w.policy[0], 0.5);
    EXPECT_EQ(w.policy[9], 0);
}

TEST(Select, GspoRatioIsOfTheWholeCompletion) {
    Rollouts r = rollouts_of({{1, 0}}, 6, 6);
    AlgoConfig algo = preset_algorithm("gspo");
    algo.clip_eps_low = algo.clip_eps_high = 10; // never clips
    Selection plan = selected(r, algo, tokens(0.5));
    Weights w = weigh(r, plan, algo, Denominator::of_aggregation);
    BatchGrads grads = batch_loss(r, plan, w, algo).grads;
    for (int i = 0; i < 2; ++i) {
        double mean = 0;
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n)
            mean += (r.logp[n] - r.logp_old[n]) / (double)r.length(i);
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n)
            EXPECT_TRUE(
                close(grads.dlogp[n], -w.policy[n] * std::exp(mean) * plan.A.token[n], 1e-13));
    }
}

TEST(Select, Schedule) {
    std::vector<double> range = {4, 12};
    for (Schedule shape : {Schedule::linear, Schedule::cosine, Schedule::step}) {
        EXPECT_EQ(scheduled(range, shape, 0), 4);
        EXPECT_NEAR(scheduled(range, shape, 1), 12, 1e-12);
    }
    EXPECT_EQ(scheduled(range, Schedule::linear, 0.25), 6);
    EXPECT_NEAR(scheduled(range, Schedule::cosine, 0.5), 8, 1e-12);
    EXPECT_NEAR(scheduled(range, Schedule::cosine, 0.25), 4 + 8 * (1 - std::sqrt(0.5)) / 2, 1e-12);
    EXPECT_EQ(scheduled(range, Schedule::step, 0.49), 4);
    EXPECT_EQ(scheduled(range, Schedule::step, 0.5), 12);
    EXPECT_EQ(scheduled({7}, Schedule::linear, 0.3), 7);
    // The table of the spec, 1.7.
    EXPECT_NEAR(mean_trained_share(.25, .75, .10, .50), .1667, 5e-5);
    EXPECT_NEAR(mean_trained_share(.50, 1, .10, .30), .158, 5e-4);
    EXPECT_NEAR(mean_trained_share(.25, .50, .10, .60), .142, 5e-4);
    EXPECT_NEAR(mean_trained_share(.25, 1, .10, .50), .213, 5e-4);
    EXPECT_NEAR(mean_trained_share(.25, 1, .20, 1), .425, 5e-4);
}

TEST(Select, DropTruncatedAfterTheRanking) {
    Rollouts r = rollouts_of({{1, 0}, {3, 0}}, 9, 6);
    SelectConfig all, finished;
    finished.drop_truncated = true;
    EXPECT_THROW(selected(r, "grpo", finished), Error) << "the rows do not say";
    r.finished = {1, 0, 1, 1};
    Selection plain = selected(r, "grpo", all), dropped = selected(r, "grpo", finished);
    EXPECT_EQ(dropped.completion, (std::vector<uint8_t>{1, 0, 1, 1}));
    EXPECT_EQ(dropped.A.token, plain.A.token) << "it counts in the mean of its prompt";
    for (int64_t n = 0; n < r.tokens(); ++n)
        EXPECT_EQ(dropped.token[n], n < r.offset[1] || n >= r.offset[2]);
}

// A cut A >= tau, A <= -tau': once both are above 1 no prompt keeps both signs (spec 1.3).
TEST(Select, AggressiveCrossSelectionKeepsRareOutcomes) {
    std::vector<std::vector<double>> rewards;
    for (int right = 1; right < 16; ++right) {
        std::vector<double> group(16, 0.0);
        std::fill_n(group.begin(), right, 1.0);
        rewards.push_back(group);
    }
    Rollouts r = rollouts_of(rewards, 21, 2);
    Selection plan = selected(r, "grpo", mode(SelectMode::cross, 3));
    EXPECT_EQ(count(plan.completion), 45);
    for (const std::vector<int>& rows : completions_by_group(r)) {
        int right = 0, wrong = 0;
        for (int i : rows) (r.reward[i] > 0 ? right : wrong) += plan.completion[i];
        EXPECT_TRUE(right == 0 || wrong == 0);
    }
}
