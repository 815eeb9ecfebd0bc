#include "rl/advantage.h"

#include "base/statistics.h"
#include "rl/units.h"

#include <algorithm>
#include <cmath>

std::vector<std::vector<int>> completions_by_group(const Rollouts& rollouts) {
    std::vector<std::vector<int>> groups(rollouts.groups);
    for (int i = 0; i < rollouts.completions(); ++i) groups[rollouts.group[i]].push_back(i);
    return groups;
}

bool has_signal(std::span<const double> rewards) { return !all_equal(rewards); }

std::vector<double> normalise(std::span<const double> x, Std std, double eps) {
    std::vector<double> out(x.size());
    if (all_equal(x)) return out; // also a set of one
    double centre = mean(x), divisor = 1;
    if (std != Std::none) divisor = std::sqrt(variance(x, centre, std == Std::unbiased)) + eps;
    for (size_t i = 0; i < x.size(); ++i) out[i] = (x[i] - centre) / divisor;
    return out;
}

std::vector<double> leave_one_out(std::span<const double> x) {
    std::vector<double> out(x.size());
    if (all_equal(x)) return out;
    double sum = mean(x) * x.size();
    for (size_t i = 0; i < x.size(); ++i) out[i] = x[i] - (sum - x[i]) / (x.size() - 1);
    return out;
}

void gae(std::span<double> advantage, std::span<double> ret, std::span<const double> rho,
         std::span<const double> value_old, double gamma, double lambda) {
    double next_value = 0, next_advantage = 0;
    for (size_t t = rho.size(); t-- > 0;) {
        double delta = rho[t] + gamma * next_value - value_old[t];
        advantage[t] = next_advantage = delta + gamma * lambda * next_advantage;
        ret[t] = advantage[t] + value_old[t];
        next_value = value_old[t];
    }
}

void whiten(std::span<double> advantage, bool unbiased, double eps) {
    if (advantage.empty()) return;
    if (all_equal(advantage)) return std::fill(advantage.begin(), advantage.end(), 0.0);
    double centre = mean(advantage);
    double scale = 1 / std::sqrt(variance(advantage, centre, unbiased) + eps);
    for (double& A : advantage) A = (A - centre) * scale;
}

// What a KL in the reward takes from token n, before beta.
static double kl_in_reward(const Rollouts& r, int64_t n, const AlgoConfig& algo) {
    if (algo.kl == Kl::none || algo.kl_in != KlIn::reward) return 0;
    return kl_term(algo.kl, r.logp_old[n], r.logp_old[n], r.logp_ref[n]).value;
}

std::vector<double> shaped_rewards(const Rollouts& r, const AlgoConfig& algo) {
    std::vector<double> reward = r.reward;
    const bool kl = algo.advantage.estimator == Estimator::outcome;
    for (int i = 0; i < r.completions(); ++i) {
        if (algo.overlong_length > 0) {
            double over = r.length(i) - (algo.overlong_length - algo.overlong_cache);
            reward[i] -= algo.overlong_factor * std::clamp(over / algo.overlong_cache, 0.0, 1.0);
        }
        double sum = 0;
        for (int64_t n = r.offset[i]; kl && n < r.offset[i + 1]; ++n)
            sum += kl_in_reward(r, n, algo);
        reward[i] -= algo.kl_coef * sum;
    }
    return reward;
}

// Step 2: R' (I).
static std::vector<double> normalised_rewards(const std::vector<double>& R, const Rollouts& r,
                                              const AlgoConfig& algo, double ema) {
    const AdvantageConfig& choice = algo.advantage;
    if (choice.baseline == Baseline::own)
        return find_algorithm(algo.preset).normalised_rewards(R, r, algo);
    if (choice.baseline == Baseline::none || choice.estimator == Estimator::group_tokens) return R;
    if (!baseline_is_the_prompts(choice)) return relative_to_set(R, choice, ema);
    std::vector<double> R_prime(R.size());
    for (const std::vector<int>& group : completions_by_group(r)) {
        std::vector<double> x;
        for (int i : group) x.push_back(R[i]);
        const std::vector<double> out = relative_to_set(x, choice, ema);
        for (size_t k = 0; k < group.size(); ++k) R_prime[group[k]] = out[k];
    }
    return R_prime;
}

// rho without its outcome: what each token earned on the way.
static std::vector<double> token_rewards(const Rollouts& r, const AlgoConfig& algo) {
    std::vector<double> rho(r.tokens());
    for (int64_t n = 0; n < r.tokens(); ++n) {
        rho[n] = -algo.kl_coef * kl_in_reward(r, n, algo);
        if (!r.credit.empty()) rho[n] += algo.advantage.credit_weight * r.credit[n];
    }
    return rho;
}

namespace {
struct PerToken {
    std::vector<double> A, ret; // (N); ret is empty without a critic
};
} // namespace

static PerToken outcome(const Rollouts& r, const std::vector<double>& R_prime) {
    PerToken out{std::vector<double>(r.tokens()), {}};
    for (int i = 0; i < r.completions(); ++i)
        std::fill_n(out.A.begin() + r.offset[i], r.length(i), R_prime[i]);
    return out;
}

// CAPO's: token rewards normalised over all tokens of a prompt, so that long completions weigh
// more.
static PerToken group_tokens(const Rollouts& r, const std::vector<double>& R,
                             const AdvantageConfig& choice) {
    const Units tokens = token_units(r, R, choice.credit_weight);
    return {relative(tokens, r, choice, SegmentPool::group, 0), {}};
}

// Credit that is a Q value already: no sum over what comes later, and the value is its baseline.
static PerToken own_credit(const Rollouts& r, const std::vector<double>& R_prime,
                           const std::vector<double>& rho, const AdvantageConfig& choice) {
    PerToken out{std::vector<double>(r.tokens()), {}};
    for (int i = 0; i < r.completions(); ++i)
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n) out.A[n] = R_prime[i] + rho[n];
    if (choice.value_weight == 0) return out;
    double weight = choice.value_weight;
    if (choice.scale_value) {
        const double deviation = std::sqrt(variance(r.value_old, mean(r.value_old), false));
        weight = deviation > 0 ? weight / deviation : 0; // all equal: no baseline in them
    }
    out.ret = out.A;
    for (int64_t n = 0; n < r.tokens(); ++n) out.A[n] = out.ret[n] - weight * r.value_old[n];
    return out;
}

// reward_to_go and gae: rewards, and what comes after them.
static PerToken sums_to_come(const Rollouts& r, const std::vector<double>& R_prime,
                             std::vector<double> rho, const AlgoConfig& algo) {
    const bool critic = algo.advantage.estimator == Estimator::gae;
    PerToken out{std::vector<double>(r.tokens()), std::vector<double>(critic ? r.tokens() : 0)};
    for (int i = 0; i < r.completions(); ++i) {
        const int64_t first = r.offset[i], last = r.offset[i + 1] - 1;
        if (last >= first) rho[last] += R_prime[i];
        if (critic)
            gae(tokens_of(out.A, r, i), tokens_of(out.ret, r, i), tokens_of(rho, r, i),
                tokens_of(r.value_old, r, i), algo.gamma, algo.lambda);
        else
            for (int64_t n = last; n >= first; --n)
                out.A[n] = rho[n] + (n < last ? algo.gamma * out.A[n + 1] : 0);
    }
    return out;
}

// Step 3: A and ret (N).
static PerToken per_token(const Rollouts& r, const std::vector<double>& R,
                          const std::vector<double>& R_prime, const AlgoConfig& algo, double ema) {
    const Estimator estimator = algo.advantage.estimator;
    if (!r.segment_credit.empty()) return {segment_advantages(r, R, algo.advantage, ema), {}};
    if (estimator == Estimator::outcome) return outcome(r, R_prime);
    if (estimator == Estimator::group_tokens) return group_tokens(r, R_prime, algo.advantage);
    const std::vector<double> rho = token_rewards(r, algo);
    if (estimator == Estimator::token) return own_credit(r, R_prime, rho, algo.advantage);
    return sums_to_come(r, R_prime, rho, algo);
}

// Per prompt: one completion, or equal rewards.
static std::vector<uint8_t> silent_groups(const std::vector<double>& R, const Rollouts& r) {
    std::vector<uint8_t> silent;
    for (const std::vector<int>& group : completions_by_group(r)) {
        std::vector<double> x;
        for (int i : group) x.push_back(R[i]);
        silent.push_back(!has_signal(x));
    }
    return silent;
}

// The outcome of a completion without tokens still counts among its prompt's.
static std::vector<double> completion_means(const Rollouts& r, const std::vector<double>& A,
                                            const std::vector<double>& R_prime) {
    std::vector<double> means = R_prime;
    for (int i = 0; i < r.completions(); ++i) {
        const std::span<const double> a = tokens_of(A, r, i);
        if (!a.empty()) means[i] = all_equal(a) ? a[0] : mean(a);
    }
    return means;
}

// Where A is not the completion's: prompts that teach nothing.
static std::vector<uint8_t> zero_groups(const std::vector<double>& A, const Rollouts& r) {
    std::vector<uint8_t> zero(r.groups, 1);
    for (int i = 0; i < r.completions(); ++i)
        for (double a : tokens_of(A, r, i)) zero[r.group[i]] &= a == 0;
    return zero;
}

// The steps on completions of which every source said something, and on their sum.
static Advantages of_sum(const Rollouts& r, const AlgoConfig& algo, double ema) {
    const AdvantageConfig& choice = algo.advantage;
    const std::vector<double> R = shaped_rewards(r, algo);                   // 1
    const std::vector<double> R_prime = normalised_rewards(R, r, algo, ema); // 2
    PerToken token = per_token(r, R, R_prime, algo, ema);                    // 3
    const bool by_unit = choice.estimator == Estimator::group_tokens || !r.segment_credit.empty();
    const std::vector<uint8_t> silent = by_unit ? zero_groups(token.A, r) : silent_groups(R, r);
    if (choice.whiten != Std::none) { // 4
        whiten(token.A, choice.whiten == Std::unbiased, choice.whiten_eps);
        const bool stay_zero =
            baseline_is_the_prompts(choice) && choice.estimator == Estimator::outcome;
        for (int i = 0; i < r.completions(); ++i)
            if (stay_zero && silent[r.group[i]])
                std::fill_n(token.A.begin() + r.offset[i], r.length(i), 0.0);
    }
    if (choice.clip > 0)
        for (double& a : token.A) a = std::clamp(a, -choice.clip, choice.clip);

    Advantages A;
    A.completion = completion_means(r, token.A, R_prime);
    A.token = std::move(token.A);
    A.ret = std::move(token.ret);
    std::vector<int> size(r.groups);
    for (int group : r.group) ++size[group];
    for (int g = 0; g < r.groups; ++g) {
        A.single_groups += size[g] == 1;
        A.equal_groups += size[g] > 1 && silent[g];
    }
    A.ema = choice.ema_decay * ema + (1 - choice.ema_decay) * mean(r.reward);
    return A;
}

// What advantages read, of these completions alone.
static Rollouts only(const Rollouts& r, std::span<const uint8_t> these) {
    Rollouts part;
    part.groups = r.groups;
    for (int i = 0; i < r.completions(); ++i) {
        if (!these[i]) continue;
        part.group.push_back(r.group[i]);
        part.offset.push_back(part.offset.back() + r.length(i));
        part.reward.push_back(r.reward[i]);
        for (auto array :
             {&Rollouts::logp_old, &Rollouts::logp_ref, &Rollouts::value_old, &Rollouts::credit}) {
            const std::span<const double> own = tokens_of(r.*array, r, i);
            (part.*array).insert((part.*array).end(), own.begin(), own.end());
        }
        if (r.segment_credit.empty()) continue;
        const int64_t first = r.segments.first[i];
        for (size_t s = 0; s < r.segments.of(i).size(); ++s) {
            part.segment_credit.push_back(r.segment_credit[(size_t)first + s]);
            part.segments.end.push_back(r.segments.of(i)[s]);
        }
        part.segments.first.push_back((int64_t)part.segments.end.size());
    }
    return part;
}

// Of all completions, from those of `these`: the others have A = 0 and no error of the value.
static Advantages among_all(const Advantages& part, const Rollouts& r,
                            std::span<const uint8_t> these) {
    Advantages A = part;
    A.token.assign(r.tokens(), 0);
    A.completion.assign(r.completions(), 0);
    if (!part.ret.empty()) A.ret = r.value_old;
    int64_t n = 0;
    size_t k = 0;
    for (int i = 0; i < r.completions(); ++i) {
        if (!these[i]) continue;
        A.completion[i] = part.completion[k++];
        std::copy_n(part.token.begin() + n, r.length(i), A.token.begin() + r.offset[i]);
        if (!part.ret.empty())
            std::copy_n(part.ret.begin() + n, r.length(i), A.ret.begin() + r.offset[i]);
        n += r.length(i);
    }
    return A;
}

// What one source earned, with the algorithm's own way to normalise it over its own units.
static Advantages of_source(const Rollouts& r, const Part& source, AlgoConfig algo, double ema) {
    Rollouts alone = r;
    alone.reward.assign(r.completions(), 0);
    alone.credit.clear();
    alone.segment_credit.clear();
    algo.advantage.estimator = Estimator::outcome;
    algo.advantage.clip = 0;
    if (source.to == Level::completion) alone.reward = source.values;
    if (source.to == Level::token) {
        alone.credit = source.values;
        algo.advantage.estimator = Estimator::group_tokens;
        algo.advantage.credit_weight = 1;
    }
    if (source.to == Level::segment) {
        alone.segment_credit = source.values;
        alone.segments = source.segments;
    }
    return among_all(of_sum(only(alone, source.valid), algo, ema), r, source.valid);
}

static Advantages sum_of_sources(const Rollouts& r, const AlgoConfig& algo, double ema) {
    Advantages sum;
    sum.token.assign(r.tokens(), 0);
    sum.completion.assign(r.completions(), 0);
    for (const Part& source : r.parts) {
        const Advantages A = of_source(r, source, algo, ema);
        for (size_t n = 0; n < sum.token.size(); ++n) sum.token[n] += source.weighted(A.token[n]);
        for (size_t i = 0; i < sum.completion.size(); ++i)
            sum.completion[i] += source.weighted(A.completion[i]);
        sum.single_groups = A.single_groups;
        sum.ema = A.ema;
    }
    const double bound = algo.advantage.clip;
    if (bound > 0)
        for (double& a : sum.token) a = std::clamp(a, -bound, bound);
    sum.completion = completion_means(r, sum.token, sum.completion);
    std::vector<int> size(r.groups);
    for (int group : r.group) ++size[group];
    const std::vector<uint8_t> silent = zero_groups(sum.token, r);
    for (int g = 0; g < r.groups; ++g) sum.equal_groups += size[g] > 1 && silent[g];
    return sum;
}

Advantages advantages(const Rollouts& r, const AlgoConfig& algo, double ema) {
    if (algo.advantage.combine == Combine::sum_of_normalised && !r.parts.empty())
        return sum_of_sources(r, algo, ema);
    if (r.judged.empty()) return of_sum(r, algo, ema);
    return among_all(of_sum(only(r, r.judged), algo, ema), r, r.judged);
}

Advantages advantages(const Rollouts& r, const AlgoConfig& algo) {
    return advantages(r, algo, algo.advantage.ema);
}

Advantages advantages_of_kept(const Rollouts& r, const AlgoConfig& algo,
                              std::span<const uint8_t> kept, Advantages A) {
    const std::vector<double> R = shaped_rewards(r, algo);
    std::fill(A.token.begin(), A.token.end(), 0.0);
    std::fill(A.completion.begin(), A.completion.end(), 0.0);
    for (std::vector<int> group : completions_by_group(r)) {
        std::erase_if(group,
                      [&](int i) { return !kept[i] || (!r.judged.empty() && !r.judged[i]); });
        std::vector<double> x;
        for (int i : group) x.push_back(R[i]);
        const std::vector<double> a = normalise(x, Std::unbiased, 1e-6);
        for (size_t k = 0; k < group.size(); ++k) {
            A.completion[group[k]] = a[k];
            std::fill_n(A.token.begin() + r.offset[group[k]], r.length(group[k]), a[k]);
        }
    }
    return A;
}
