#include "rl/select.h"

#include "base/rng.h"
#include "rl/advantage.h"

#include <algorithm>
#include <cmath>
#include <numeric>

static const char* const mode_names[] = {"all",  "intra", "cross", "intra_then_cross",
                                         "pods", "cppo",  "random"};
static const char* const key_names[] = {"abs_adv_entropy", "entropy", "none"};
static const char* const scope_names[] = {"batch", "response"};
static const char* const denominator_names[] = {"", "kept_tokens", "all_selected_tokens",
                                                "per_sequence"};
static const char* const schedule_names[] = {"linear", "cosine", "step"};

const char* name_of(SelectMode mode) { return mode_names[(int)mode]; }

void SelectConfig::visit(Fields& v) {
    v.choice("mode", mode, mode_names, "which completions train");
    v.field("keep_samples", keep_samples, 0, 1e9,
            "[start, end] of N_s: completions kept per prompt (cross: on average)");
    v.field("keep_samples_intra", keep_samples_intra, 0, 1e9,
            "[start, end], intra_then_cross: completions kept per prompt before the cross rule");
    v.field("keep_tokens", keep_tokens, 0, 1,
            "[start, end] of K: share of the kept completions' tokens that trains");
    v.choice("token_key", token_key, key_names, "tokens are kept by |A| * H, by H, or all");
    v.choice("scope", scope, scope_names, "the pool in which tokens are ranked");
    v.choice("denominator", denominator, denominator_names,
             "Z of the policy term; empty: follows algo.aggregation");
    v.choice("schedule", schedule, schedule_names, "from start to end over the run");
    v.field("drop_zero", drop_zero, "completions with A = 0 on all tokens do not train");
    v.field("drop_truncated", drop_truncated,
            "completions that reached the length limit do not train (DAPO's overlong filtering)");
    v.field("before_judging", before_judging,
            "the completions are chosen by what the task's rule says, and models that judge (capo, "
            "trm) are asked of those alone");
    v.field("progress", progress, 0, 1, "p: share of the run that is done");
    v.field("seed", seed, 0, 9e15, "of mode random");
}

static void check_range(const std::vector<double>& range, const char* name, double low) {
    CHECK(range.size() == 1 || range.size() == 2,
          "select.%s must be [start, end], found %zu numbers", name, range.size());
    for (double value : range)
        CHECK(value > low, "select.%s = %g must be above %g", name, value, low);
}

// Of keys that the others leave without effect.
static void check_unused(const SelectConfig& select) {
    auto changes = [](const std::vector<double>& range) {
        return !range.empty() && range.front() != range.back();
    };
    const SelectConfig usual;
    const bool all_tokens = select.keep_tokens.front() >= 1 && select.keep_tokens.back() >= 1;
    CHECK(select.mode != SelectMode::all || select.keep_samples.empty(),
          "select.keep_samples has no effect with select.mode = all; set select.mode");
    CHECK(select.mode == SelectMode::intra_then_cross || select.keep_samples_intra.empty(),
          "select.keep_samples_intra has no effect with select.mode = %s; only intra_then_cross "
          "reads it",
          name_of(select.mode));
    CHECK(select.mode == SelectMode::random || select.seed == 0,
          "select.seed = %lld has no effect with select.mode = %s; only random reads it",
          (long long)select.seed, name_of(select.mode));
    CHECK(!all_tokens || (select.token_key == usual.token_key && select.scope == usual.scope),
          "select.token_key and select.scope have no effect while all tokens train; set "
          "select.keep_tokens, for instance to [0.5,0.5]");
    CHECK(select.schedule == usual.schedule || changes(select.keep_samples) ||
              changes(select.keep_samples_intra) || changes(select.keep_tokens),
          "select.schedule has no effect where no start differs from its end; set "
          "select.keep_samples or select.keep_tokens");
}

void check_select(const SelectConfig& select) {
    if (select.mode != SelectMode::all) {
        CHECK(!select.keep_samples.empty(),
              "select.mode = %s needs select.keep_samples = [start, end], the number of "
              "completions to keep per prompt",
              name_of(select.mode));
        check_range(select.keep_samples, "keep_samples", 0);
    }
    CHECK(!select.before_judging || select.mode != SelectMode::all,
          "select.before_judging has no effect with select.mode = all, which keeps everything; set "
          "select.mode and select.keep_samples");
    if (select.mode == SelectMode::intra_then_cross) {
        CHECK(!select.keep_samples_intra.empty(),
              "select.mode = intra_then_cross needs select.keep_samples_intra = [start, end]");
        check_range(select.keep_samples_intra, "keep_samples_intra", 0);
    }
    check_range(select.keep_tokens, "keep_tokens", 0);
    check_unused(select);
}

bool needs_entropy(const SelectConfig& select) {
    return select.token_key != TokenKey::none &&
           scheduled(select.keep_tokens, select.schedule, select.progress) < 1;
}

double scheduled(const std::vector<double>& range, Schedule schedule, double progress) {
    double start = range.front(), end = range.back(), p = progress;
    if (schedule == Schedule::cosine) p = 0.5 * (1 - std::cos(M_PI * progress));
    if (schedule == Schedule::step) p = progress < 0.5 ? 0 : 1;
    return start == end ? start : (1 - p) * start + p * end;
}

double mean_trained_share(double n0, double n1, double k0, double k1) {
    return n0 * k0 + (n0 * (k1 - k0) + k0 * (n1 - n0)) / 2 + (n1 - n0) * (k1 - k0) / 3;
}

std::vector<int> max_variance_subset(std::span<const double> a, int m) {
    const int n = (int)a.size();
    std::vector<int> order(n);
    std::iota(order.begin(), order.end(), 0);
    if (m >= n) return order;
    std::sort(order.begin(), order.end(),
              [&](int i, int j) { return a[i] != a[j] ? a[i] > a[j] : i < j; });

    double centre = 0; // variance does not change with it; the sums keep their digits
    for (int i : order) centre += a[i] / n;
    std::vector<double> P(n + 1, 0), Q(n + 1, 0);
    for (int k = 0; k < n; ++k) {
        double x = a[order[k]] - centre;
        P[k + 1] = P[k] + x, Q[k + 1] = Q[k] + x * x;
    }
    int best = 0;
    double best_score = -1;
    for (int k = 0; k <= m; ++k) {
        double sum = P[k] + P[n] - P[n - m + k];
        double squares = Q[k] + Q[n] - Q[n - m + k];
        double score = m * squares - sum * sum; // m^2 Var
        if (score > best_score + 1e-12 * std::max(1.0, std::abs(best_score)))
            best = k, best_score = score;
    }
    std::vector<int> chosen(order.begin(), order.begin() + best);
    chosen.insert(chosen.end(), order.end() - (m - best), order.end());
    std::sort(chosen.begin(), chosen.end());
    return chosen;
}

// clamp(round(keep), 2, size), as the notes of D3S have it; a smaller group is kept whole.
static int samples_of(double keep, int size) {
    return std::min(std::max((int)std::floor(std::min(keep, 1e9) + 0.5), 2), size);
}

// Of these completions the m that maximise the variance of x.
static std::vector<int> of_largest_variance(const std::vector<int>& set, std::span<const double> x,
                                            int m) {
    std::vector<double> values;
    for (int i : set) values.push_back(x[i]);
    std::vector<int> chosen = max_variance_subset(values, m);
    for (int& k : chosen) k = set[k];
    return chosen;
}

// The m of largest |x|.
static std::vector<int> of_largest_size(std::vector<int> set, std::span<const double> x, int m) {
    std::stable_sort(set.begin(), set.end(),
                     [&](int i, int j) { return std::abs(x[i]) > std::abs(x[j]); });
    set.resize(std::min(set.size(), (size_t)m));
    return set;
}

// The completions (increasing) that the mode keeps.
static std::vector<int> select_completions(const Rollouts& r, const Advantages& A,
                                           const AlgoConfig& algo, const SelectConfig& select,
                                           int64_t step) {
    std::vector<int> all(r.completions());
    std::iota(all.begin(), all.end(), 0);
    if (select.mode == SelectMode::all) return all;
    const double keep = scheduled(select.keep_samples, select.schedule, select.progress);
    // choose(completions of a prompt, how many of them, prompt) for each prompt
    auto per_prompt = [&](double count, auto choose) {
        std::vector<int> kept;
        std::vector<std::vector<int>> groups = completions_by_group(r);
        for (int g = 0; g < r.groups; ++g) {
            const int m = samples_of(count, (int)groups[g].size());
            const std::vector<int> chosen = choose(groups[g], m, g);
            kept.insert(kept.end(), chosen.begin(), chosen.end());
        }
        std::sort(kept.begin(), kept.end());
        return kept;
    };
    auto by_variance = [](std::span<const double> x) {
        return
            [x](const std::vector<int>& set, int m, int) { return of_largest_variance(set, x, m); };
    };
    auto cross = [&](const std::vector<int>& set) {
        return of_largest_variance(set, A.completion, samples_of(keep * r.groups, (int)set.size()));
    };
    if (select.mode == SelectMode::intra) return per_prompt(keep, by_variance(A.completion));
    if (select.mode == SelectMode::cross) return cross(all);
    if (select.mode == SelectMode::intra_then_cross) {
        const double first = scheduled(select.keep_samples_intra, select.schedule, select.progress);
        return cross(per_prompt(first, by_variance(A.completion)));
    }
    if (select.mode == SelectMode::pods) {
        const std::vector<double> R = shaped_rewards(r, algo);
        return per_prompt(keep, by_variance(R));
    }
    if (select.mode == SelectMode::cppo)
        return per_prompt(keep, [&](const std::vector<int>& set, int m, int) {
            return of_largest_size(set, A.completion, m);
        });
    return per_prompt(keep, [&](std::vector<int> set, int m, int g) { // random
        Rng rng(mix64((uint64_t)select.seed), mix64(((uint64_t)step << 32) + (uint64_t)g));
        rng.shuffle(set);
        set.resize(m);
        return set;
    });
}

// Keeps the n = max(1, ceil(K M)) largest keys of the pool, ties by completion, then token (the
// pool's order).
static void keep_largest(std::vector<uint8_t>& kept, std::vector<int64_t> pool,
                         std::span<const double> key, double K) {
    if (pool.empty()) return;
    size_t n = std::clamp((size_t)std::ceil(K * (double)pool.size()), (size_t)1, pool.size());
    std::nth_element(pool.begin(), pool.begin() + (n - 1), pool.end(), [&](int64_t a, int64_t b) {
        return key[a] != key[b] ? key[a] > key[b] : a < b;
    });
    for (size_t k = 0; k < n; ++k) kept[pool[k]] = key[pool[k]] != 0;
}

// (N) of the kept completions (I) the tokens that train.
static std::vector<uint8_t> select_tokens(const Rollouts& r, const std::vector<uint8_t>& completion,
                                          const std::vector<double>& A,
                                          const SelectConfig& select) {
    std::vector<uint8_t> kept(r.tokens());
    const double K = scheduled(select.keep_tokens, select.schedule, select.progress);
    const bool choose = select.token_key != TokenKey::none && K < 1;
    CHECK(!choose || !r.entropy.empty() || r.tokens() == 0,
          "select.keep_tokens = %g ranks tokens by entropy, which these rollouts do not have", K);
    std::vector<double> key(choose ? r.tokens() : 0);
    for (size_t n = 0; n < key.size(); ++n)
        key[n] =
            select.token_key == TokenKey::entropy ? r.entropy[n] : std::abs(A[n]) * r.entropy[n];
    std::vector<int64_t> pool;
    for (int i = 0; i < r.completions(); ++i) {
        if (!completion[i]) continue;
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n)
            if (choose)
                pool.push_back(n);
            else
                kept[n] = 1;
        if (choose && select.scope == TokenScope::response) {
            keep_largest(kept, pool, key, K);
            pool.clear();
        }
    }
    keep_largest(kept, pool, key, K);
    return kept;
}

static bool all_zero(std::span<const double> x) {
    return std::all_of(x.begin(), x.end(), [](double v) { return v == 0; });
}

static std::vector<uint8_t> mask_of(const std::vector<int>& chosen, int completions) {
    std::vector<uint8_t> mask(completions);
    for (int i : chosen) mask[i] = 1;
    return mask;
}

std::vector<uint8_t> chosen_by_rule(const Rollouts& drawn, std::span<const double> rule,
                                    const AlgoConfig& algo, const SelectConfig& select,
                                    int64_t step) {
    CHECK(algo.advantage.estimator == Estimator::outcome ||
              algo.advantage.estimator == Estimator::group_tokens,
          "select.before_judging chooses by advantages of rewards; it needs "
          "algo.advantage.estimator = outcome or group_tokens, found %s",
          name_of(algo.advantage.estimator));
    Rollouts r = drawn;
    r.reward.assign(rule.begin(), rule.end());
    AlgoConfig outcome = algo;
    outcome.kl = Kl::none;
    outcome.advantage.combine = Combine::normalise_of_sum;
    const Advantages A = advantages(r, outcome);
    return mask_of(select_completions(r, A, outcome, select, step), r.completions());
}

Selection select(const Rollouts& r, const Advantages& A, const AlgoConfig& algo,
                 const SelectConfig& select, int64_t step, std::span<const uint8_t> chosen) {
    CHECK(select.mode != SelectMode::pods || algo.advantage.estimator == Estimator::outcome,
          "select.mode = pods normalises rewards per prompt; it needs algo.advantage.estimator = "
          "outcome, found %s",
          name_of(algo.advantage.estimator));
    CHECK(!select.drop_truncated || !r.finished.empty(),
          "select.drop_truncated = true needs to know which completions reached the length limit; "
          "the rows do not say (\"finish\")");
    Selection kept;
    kept.completion.assign(chosen.begin(), chosen.end());
    if (chosen.empty())
        kept.completion = mask_of(select_completions(r, A, algo, select, step), r.completions());
    kept.A = select.mode == SelectMode::pods ? advantages_of_kept(r, algo, kept.completion, A) : A;
    for (int i = 0; i < r.completions(); ++i)
        if (select.drop_zero && all_zero(tokens_of(kept.A.token, r, i))) kept.completion[i] = 0;
    kept.token = select_tokens(r, kept.completion, kept.A.token, select);
    for (int i = 0; i < r.completions(); ++i)
        if (select.drop_truncated && !r.finished[i]) {
            kept.completion[i] = 0;
            std::fill_n(kept.token.begin() + r.offset[i], r.length(i), 0);
        }
    return kept;
}

SelectConfig at_step(SelectConfig select, int64_t step, int64_t steps) {
    select.progress = steps > 1 ? (double)(step - 1) / (double)(steps - 1) : 0;
    return select;
}
