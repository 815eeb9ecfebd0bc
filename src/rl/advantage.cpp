#include "rl/advantage.h"

#include "base/statistics.h"

#include <algorithm>
#include <cmath>

std::vector<std::vector<int>> completions_by_group(const Rollouts& rollouts) {
    std::vector<std::vector<int>> groups(rollouts.groups);
    for (int i = 0; i < rollouts.completions(); ++i) groups[rollouts.group[i]].push_back(i);
    return groups;
}

static bool all_equal(std::span<const double> x) {
    return std::all_of(x.begin(), x.end(), [&](double v) { return v == x[0]; });
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

// (R - b) / (sigma + std_eps) over one set of completions.
static std::vector<double> relative_to_set(std::span<const double> x, const AdvantageConfig& choice,
                                           double ema) {
    if (choice.baseline != Baseline::leave_one_out && choice.baseline != Baseline::ema)
        return normalise(x, choice.std, choice.std_eps);
    double sigma = 1;
    if (choice.std != Std::none)
        sigma = std::sqrt(variance(x, mean(x), choice.std == Std::unbiased)) + choice.std_eps;
    std::vector<double> out(x.begin(), x.end());
    if (choice.baseline == Baseline::leave_one_out)
        out = leave_one_out(x);
    else
        for (double& v : out) v -= ema;
    for (double& v : out) v /= sigma;
    return out;
}

static bool baseline_is_the_prompts(const AdvantageConfig& choice) {
    return choice.baseline == Baseline::group_mean || choice.baseline == Baseline::leave_one_out;
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
    PerToken out{std::vector<double>(r.tokens()), {}};
    for (const std::vector<int>& group : completions_by_group(r)) {
        std::vector<double> x;
        for (int i : group)
            for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n)
                x.push_back(R[i] + (r.credit.empty() ? 0 : choice.credit_weight * r.credit[n]));
        const std::vector<double> A = normalise(x, choice.std, choice.std_eps);
        size_t k = 0;
        for (int i : group)
            for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n) out.A[n] = A[k++];
    }
    return out;
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
static PerToken per_token(const Rollouts& r, const std::vector<double>& R_prime,
                          const AlgoConfig& algo) {
    const Estimator estimator = algo.advantage.estimator;
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

Advantages advantages(const Rollouts& r, const AlgoConfig& algo, double ema) {
    const AdvantageConfig& choice = algo.advantage;
    const std::vector<double> R = shaped_rewards(r, algo);                   // 1
    const std::vector<double> R_prime = normalised_rewards(R, r, algo, ema); // 2
    PerToken token = per_token(r, R_prime, algo);                            // 3
    const std::vector<uint8_t> silent = silent_groups(R, r);
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

Advantages advantages(const Rollouts& r, const AlgoConfig& algo) {
    return advantages(r, algo, algo.advantage.ema);
}

Advantages advantages_of_kept(const Rollouts& r, const AlgoConfig& algo,
                              std::span<const uint8_t> kept, Advantages A) {
    const std::vector<double> R = shaped_rewards(r, algo);
    std::fill(A.token.begin(), A.token.end(), 0.0);
    std::fill(A.completion.begin(), A.completion.end(), 0.0);
    for (std::vector<int> group : completions_by_group(r)) {
        std::erase_if(group, [&](int i) { return !kept[i]; });
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
