#include "rl/select.h"

#include "base/rng.h"
#include "rl/advantage.h"
#include "rl/aggregation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

void SelectConfig::visit(Fields& v) {
    v.choice("mode", mode, {"all", "intra", "cross", "intra_then_cross", "pods", "cppo", "random"},
             "which completions train");
    v.field("keep_samples", keep_samples, 0, 1e9,
            "[start, end] of N_s: completions kept per prompt (cross: on average)");
    v.field("keep_samples_intra", keep_samples_intra, 0, 1e9,
            "[start, end], intra_then_cross: completions kept per prompt before the cross rule");
    v.field("keep_tokens", keep_tokens, 0, 1,
            "[start, end] of K: share of the kept completions' tokens that trains");
    v.choice("token_key", token_key, {"abs_adv_entropy", "entropy", "none"},
             "tokens are kept by |A| * H, by H, or all");
    v.choice("scope", scope, {"batch", "response"}, "the pool in which tokens are ranked");
    v.choice("denominator", denominator, {"", "kept_tokens", "all_selected_tokens", "per_sequence"},
             "Z of the policy term; empty: follows algo.aggregation");
    v.choice("schedule", schedule, {"linear", "cosine", "step"}, "from start to end over the run");
    v.field("drop_zero", drop_zero, "completions with A = 0 on all tokens do not train");
    v.field("progress", progress, 0, 1, "p: share of the run that is done");
    v.field("seed", seed, 0, 9e15, "of mode random");
}

static void check_range(const std::vector<double>& range, const char* name, double low) {
    CHECK(range.size() == 1 || range.size() == 2,
          "select.%s must be [start, end], found %zu numbers", name, range.size());
    for (double value : range)
        CHECK(value > low, "select.%s = %g must be above %g", name, value, low);
}

void check_select(const SelectConfig& select) {
    if (select.mode != "all") {
        CHECK(!select.keep_samples.empty(),
              "select.mode = %s needs select.keep_samples = [start, end], the number of "
              "completions to keep per prompt",
              select.mode.c_str());
        check_range(select.keep_samples, "keep_samples", 0);
    }
    if (select.mode == "intra_then_cross") {
        CHECK(!select.keep_samples_intra.empty(),
              "select.mode = intra_then_cross needs select.keep_samples_intra = [start, end]");
        check_range(select.keep_samples_intra, "keep_samples_intra", 0);
    }
    check_range(select.keep_tokens, "keep_tokens", 0);
}

bool needs_entropy(const SelectConfig& select) {
    return select.token_key != "none" &&
           scheduled(select.keep_tokens, select.schedule, select.progress) < 1;
}

double scheduled(const std::vector<double>& range, const std::string& schedule, double progress) {
    double start = range.front(), end = range.back(), p = progress;
    if (schedule == "cosine") p = 0.5 * (1 - std::cos(M_PI * progress));
    if (schedule == "step") p = progress < 0.5 ? 0 : 1;
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

// Positions in `rows` of the m that maximise the variance of x over these rows.
static std::vector<int> max_variance_rows(const std::vector<int>& rows, std::span<const double> x,
                                          int m) {
    std::vector<double> values;
    for (int i : rows) values.push_back(x[i]);
    std::vector<int> chosen = max_variance_subset(values, m);
    for (int& k : chosen) k = rows[k];
    return chosen;
}

static std::vector<int> largest_rows(std::vector<int> rows, std::span<const double> key, int m) {
    std::stable_sort(rows.begin(), rows.end(),
                     [&](int i, int j) { return std::abs(key[i]) > std::abs(key[j]); });
    rows.resize(std::min(rows.size(), (size_t)m));
    return rows;
}

static std::vector<int> select_rows(const Rollouts& r, std::span<const double> A,
                                    std::span<const double> reward, const SelectConfig& select,
                                    int64_t step) {
    std::vector<int> all(r.rows());
    std::iota(all.begin(), all.end(), 0);
    if (select.mode == "all") return all;
    double keep = scheduled(select.keep_samples, select.schedule, select.progress);
    std::vector<int> kept;
    auto per_group = [&](double count, auto choose) {
        kept.clear();
        std::vector<std::vector<int>> groups = rows_by_group(r);
        for (size_t g = 0; g < groups.size(); ++g) {
            std::vector<int> chosen =
                choose(groups[g], samples_of(count, (int)groups[g].size()), (int)g);
            kept.insert(kept.end(), chosen.begin(), chosen.end());
        }
        std::sort(kept.begin(), kept.end());
    };
    auto by_variance = [&](std::span<const double> x) {
        return
            [x](const std::vector<int>& rows, int m, int) { return max_variance_rows(rows, x, m); };
    };
    auto cross = [&](const std::vector<int>& rows) {
        return max_variance_rows(rows, A, samples_of(keep * r.groups, (int)rows.size()));
    };
    if (select.mode == "intra") {
        per_group(keep, by_variance(A));
    } else if (select.mode == "cross") {
        kept = cross(all);
    } else if (select.mode == "intra_then_cross") {
        per_group(scheduled(select.keep_samples_intra, select.schedule, select.progress),
                  by_variance(A));
        kept = cross(kept);
    } else if (select.mode == "pods") {
        per_group(keep, by_variance(reward));
    } else if (select.mode == "cppo") {
        per_group(keep, [&](const std::vector<int>& rows, int m, int) {
            return largest_rows(rows, A, m);
        });
    } else { // random
        per_group(keep, [&](std::vector<int> rows, int m, int g) {
            Rng rng(mix64((uint64_t)select.seed), mix64(((uint64_t)step << 32) + (uint64_t)g));
            rng.shuffle(rows);
            rows.resize(m);
            return rows;
        });
    }
    return kept;
}

// PODS: A = (R - mean) / (unbiased std + 1e-6) over the kept completions of the prompt; 0 for the others.
static void normalise_kept(Plan& plan, const Rollouts& r, std::span<const double> reward) {
    std::fill(plan.advantage.begin(), plan.advantage.end(), 0.0);
    std::fill(plan.row_advantage.begin(), plan.row_advantage.end(), 0.0);
    for (std::vector<int> rows : rows_by_group(r)) {
        std::erase_if(rows, [&](int i) { return !plan.kept[i]; });
        std::vector<double> x;
        for (int i : rows) x.push_back(reward[i]);
        std::vector<double> A = normalise(x, "unbiased", 1e-6);
        for (size_t k = 0; k < rows.size(); ++k) {
            plan.row_advantage[rows[k]] = A[k];
            std::fill_n(plan.advantage.begin() + r.offset[rows[k]], r.length(rows[k]), A[k]);
        }
    }
}

// Keeps the n = max(1, ceil(K M)) largest keys of the pool, ties by row, then token (the pool's order).
static void keep_largest(Plan& plan, std::vector<int64_t> pool, std::span<const double> key,
                         double K) {
    if (pool.empty()) return;
    size_t n = std::clamp((size_t)std::ceil(K * (double)pool.size()), (size_t)1, pool.size());
    std::nth_element(pool.begin(), pool.begin() + (n - 1), pool.end(), [&](int64_t a, int64_t b) {
        return key[a] != key[b] ? key[a] > key[b] : a < b;
    });
    for (size_t k = 0; k < n; ++k) plan.token_kept[pool[k]] = key[pool[k]] != 0;
}

static void select_tokens(Plan& plan, const Rollouts& r, const SelectConfig& select) {
    plan.token_kept.assign(r.tokens(), 0);
    double K = scheduled(select.keep_tokens, select.schedule, select.progress);
    bool choose = select.token_key != "none" && K < 1;
    CHECK(!choose || !r.entropy.empty() || r.tokens() == 0,
          "select.keep_tokens = %g ranks tokens by entropy, which these rollouts do not have", K);
    std::vector<double> key(choose ? r.tokens() : 0);
    for (size_t n = 0; n < key.size(); ++n)
        key[n] = select.token_key == "entropy" ? r.entropy[n]
                                               : std::abs(plan.advantage[n]) * r.entropy[n];
    std::vector<int64_t> pool;
    for (int i = 0; i < r.rows(); ++i) {
        if (!plan.kept[i]) continue;
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n)
            if (choose)
                pool.push_back(n);
            else
                plan.token_kept[n] = 1;
        if (choose && select.scope == "response") {
            keep_largest(plan, pool, key, K);
            pool.clear();
        }
    }
    keep_largest(plan, pool, key, K);
}

void select_rows_and_tokens(Plan& plan, const Rollouts& r, const AlgoConfig& algo,
                            const SelectConfig& select, int64_t step) {
    CHECK(select.mode != "pods" || algo.advantage.estimator == "outcome",
          "select.mode = pods normalises rewards per prompt; it needs algo.advantage.estimator = "
          "outcome, found %s",
          algo.advantage.estimator.c_str());
    std::vector<double> reward = shaped_rewards(r, algo);
    plan.kept.assign(r.rows(), 0);
    for (int i : select_rows(r, plan.row_advantage, reward, select, step)) plan.kept[i] = 1;
    if (select.mode == "pods") normalise_kept(plan, r, reward);
    for (int i = 0; select.drop_zero && i < r.rows(); ++i) {
        std::span<const double> A = row_of(plan.advantage, r, i);
        if (std::all_of(A.begin(), A.end(), [](double x) { return x == 0; })) plan.kept[i] = 0;
    }
    select_tokens(plan, r, select);
}

void weigh(Plan& plan, const Rollouts& r, const AlgoConfig& algo, const SelectConfig& select,
           std::span<const int> rows) {
    std::vector<int> kept;
    for (int i : rows)
        if (plan.kept[i]) kept.push_back(i);
    Aggregation kind = aggregation_named(algo.aggregation, select.denominator);
    plan.weight.assign(r.tokens(), 0);
    plan.weight_all.assign(r.tokens(), 0);
    aggregation_weights(plan.weight, r, kept, plan.token_kept, kind, algo.max_length_norm);
    aggregation_weights(plan.weight_all, r, kept, {}, kind, algo.max_length_norm);
}

void select_and_weigh(Plan& plan, const Rollouts& r, const AlgoConfig& algo,
                      const SelectConfig& select, int64_t step) {
    select_rows_and_tokens(plan, r, algo, select, step);
    std::vector<int> all(r.rows());
    std::iota(all.begin(), all.end(), 0);
    weigh(plan, r, algo, select, all);
}
