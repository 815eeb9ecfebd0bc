#include "rl/units.h"

#include "base/statistics.h"
#include "rl/advantage.h"

#include <cmath>
#include <map>

void Units::add(double x, int i, int number, int64_t first, int64_t last) {
    value.push_back(x);
    completion.push_back(i);
    index.push_back(number);
    begin.push_back(first);
    end.push_back(last);
}

Units segment_units(const Rollouts& r, const std::vector<double>& R) {
    Units units;
    for (int i = 0; i < r.completions(); ++i) {
        const int64_t first = r.segments.first[i];
        int64_t begin = r.offset[i];
        for (int s = 0; s < (int)r.segments.of(i).size(); ++s) {
            const int64_t end = r.offset[i] + r.segments.of(i)[s];
            units.add(R[i] + r.segment_credit[first + s], i, s, begin, end);
            begin = end;
        }
    }
    return units;
}

Units token_units(const Rollouts& r, const std::vector<double>& R, double credit_weight) {
    Units units;
    for (int i = 0; i < r.completions(); ++i)
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n)
            units.add(R[i] + (r.credit.empty() ? 0 : credit_weight * r.credit[n]), i,
                      (int)(n - r.offset[i]), n, n + 1);
    return units;
}

static double deviation(std::span<const double> x, Std std) {
    return std::sqrt(variance(x, mean(x), std == Std::unbiased));
}

// x - b.
static std::vector<double> centred(std::span<const double> x, const AdvantageConfig& choice,
                                   double ema) {
    std::vector<double> out(x.begin(), x.end());
    if (choice.baseline == Baseline::leave_one_out) return leave_one_out(x);
    if (choice.baseline == Baseline::ema) {
        for (double& v : out) v -= ema;
    } else if (choice.baseline != Baseline::none) {
        const double b = all_equal(x) ? x[0] : mean(x); // exactly 0 where all are equal
        for (double& v : out) v -= b;
    }
    return out;
}

// What x - b is divided by; 0: A is 0, as the deviation is below the floor.
static double divisor_of(std::span<const double> x, const AdvantageConfig& choice) {
    if (choice.std_floor > 0 && deviation(x, choice.std) < choice.std_floor) return 0;
    return choice.std == Std::none ? 1 : deviation(x, choice.std) + choice.std_eps;
}

static void divide(std::vector<double>& x, double divisor) {
    for (double& v : x) v = divisor > 0 ? v / divisor : 0;
}

// (x - b) / (sigma + std_eps) of `part`, a summand of x: b is the part's own and sigma that of x,
// so that the parts of a sum add up to what the sum becomes.
static std::vector<double> relative_part(std::span<const double> x, std::span<const double> part,
                                         const AdvantageConfig& choice, double ema) {
    if (all_equal(x) && choice.baseline != Baseline::ema) return std::vector<double>(x.size());
    std::vector<double> A = centred(part, choice, ema);
    divide(A, divisor_of(x, choice));
    return A;
}

std::vector<double> relative_to_set(std::span<const double> x, const AdvantageConfig& choice,
                                    double ema) {
    return relative_part(x, x, choice, ema);
}

bool baseline_is_the_prompts(const AdvantageConfig& choice) {
    return choice.baseline == Baseline::group_mean || choice.baseline == Baseline::leave_one_out;
}

namespace {

using Set = std::vector<size_t>; // of units

std::vector<Set> sets_by(const std::vector<int>& key, const Set& units) {
    std::map<int, Set> sets;
    for (size_t u : units) sets[key[u]].push_back(u);
    std::vector<Set> list;
    for (auto& [k, set] : sets) list.push_back(set);
    return list;
}

std::vector<double> picked(const std::vector<double>& x, const Set& set) {
    std::vector<double> out;
    for (size_t u : set) out.push_back(x[u]);
    return out;
}

void put(std::vector<double>& A, const Set& set, const std::vector<double>& x) {
    for (size_t k = 0; k < set.size(); ++k) A[set[k]] = x[k];
}

// Of one completion, which has nothing to be compared with.
bool alone(const Units& units, const Set& set) {
    for (size_t u : set)
        if (units.completion[u] != units.completion[set[0]]) return false;
    return true;
}

} // namespace

static std::vector<double> relative_part(const Units& units, const std::vector<double>& part,
                                         const Rollouts& r, const AdvantageConfig& choice,
                                         SegmentPool pool, double ema) {
    if (choice.baseline == Baseline::none) return part;
    std::vector<double> A(part.size());
    std::vector<int> group;
    Set all;
    for (size_t u = 0; u < A.size(); ++u) {
        group.push_back(baseline_is_the_prompts(choice) ? r.group[units.completion[u]] : 0);
        all.push_back(u);
    }
    for (const Set& members : sets_by(group, all)) {
        if (baseline_is_the_prompts(choice) && alone(units, members)) continue;
        if (pool == SegmentPool::group) {
            put(A, members,
                relative_part(picked(units.value, members), picked(part, members), choice, ema));
            continue;
        }
        AdvantageConfig of_index = choice;
        if (pool == SegmentPool::index_centre_group_std) {
            of_index.std = Std::none;
            of_index.std_floor = 0;
        }
        std::vector<double> x(A.size()); // the sum, centred per index
        for (const Set& set : sets_by(units.index, members)) {
            const std::vector<double> value = picked(units.value, set);
            put(A, set, relative_part(value, picked(part, set), of_index, ema));
            put(x, set, relative_part(value, value, of_index, ema));
        }
        if (pool == SegmentPool::per_index) continue;
        const std::vector<double> pooled_x = picked(x, members);
        std::vector<double> pooled_A = picked(A, members);
        divide(pooled_A, all_equal(pooled_x) ? 0 : divisor_of(pooled_x, choice));
        put(A, members, pooled_A);
    }
    return A;
}

std::vector<double> relative(const Units& units, const Rollouts& r, const AdvantageConfig& choice,
                             SegmentPool pool, double ema) {
    return relative_part(units, units.value, r, choice, pool, ema);
}

std::vector<double> segment_advantages(const Rollouts& r, const std::vector<double>& R,
                                       const AdvantageConfig& choice, double ema) {
    const Units units = segment_units(r, R);
    const std::vector<double> A = relative(units, r, choice, choice.segment_pool, ema);
    // Of A, what is not the segments' own.
    std::vector<double> whole;
    for (int i : units.completion) whole.push_back(R[i]);
    whole = relative_part(units, whole, r, choice, choice.segment_pool, ema);

    std::vector<double> out(r.tokens());
    for (int i = 0; i < r.completions(); ++i) {
        const int64_t first = r.segments.first[i], last = r.segments.first[i + 1];
        int64_t n = r.offset[i];
        for (int64_t s = first; s < last; ++s)
            for (; n < units.end[s]; ++n) out[n] = A[s];
        const bool zero = choice.after_last_segment == AfterLast::zero;
        const std::vector<double>& behind = zero ? whole : A;
        const std::span<const double> own(behind.data() + first, (size_t)(last - first));
        const double rest =
            after_last_segment(own, zero ? AfterLast::mean : choice.after_last_segment);
        std::fill(out.begin() + n, out.begin() + r.offset[i + 1], rest);
    }
    return out;
}
