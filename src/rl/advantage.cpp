#include "rl/advantage.h"

#include <algorithm>
#include <cmath>

std::vector<std::vector<int>> rows_by_group(const Rollouts& rollouts) {
    std::vector<std::vector<int>> groups(rollouts.groups);
    for (int i = 0; i < rollouts.rows(); ++i) groups[rollouts.group[i]].push_back(i);
    return groups;
}

static double mean(std::span<const double> x) {
    double sum = 0;
    for (double v : x) sum += v;
    return x.empty() ? 0 : sum / x.size();
}

static double variance(std::span<const double> x, double centre, bool unbiased) {
    double sum = 0;
    for (double v : x) sum += (v - centre) * (v - centre);
    double n = (double)x.size() - unbiased;
    return n > 0 ? sum / n : 0;
}

static bool all_equal(std::span<const double> x) {
    return std::all_of(x.begin(), x.end(), [&](double v) { return v == x[0]; });
}

bool has_signal(std::span<const double> rewards) { return !all_equal(rewards); }

std::vector<double> normalise(std::span<const double> x, const std::string& std, double eps) {
    std::vector<double> out(x.size());
    if (all_equal(x)) return out; // also a set of one
    double centre = mean(x), divisor = 1;
    if (std != "none") divisor = std::sqrt(variance(x, centre, std == "unbiased")) + eps;
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
    if (algo.kl == "none" || algo.kl_in != "reward") return 0;
    double k1 = r.logp_old[n] - r.logp_ref[n];
    return algo.kl == "abs" ? std::abs(k1) : k1;
}

std::vector<double> shaped_rewards(const Rollouts& r, const AlgoConfig& algo) {
    std::vector<double> reward = r.reward;
    const bool kl = algo.advantage.estimator == "outcome";
    for (int i = 0; i < r.rows(); ++i) {
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

// Step 2 over one set of rows.
static void normalise_rows(std::vector<double>& reward, std::span<const int> rows,
                           const AdvantageConfig& advantage) {
    std::vector<double> x;
    for (int i : rows) x.push_back(reward[i]);
    std::vector<double> out;
    if (advantage.baseline == "leave_one_out" || advantage.baseline == "ema") {
        double divisor = 1;
        if (advantage.std != "none")
            divisor =
                std::sqrt(variance(x, mean(x), advantage.std == "unbiased")) + advantage.std_eps;
        if (advantage.baseline == "leave_one_out")
            out = leave_one_out(x);
        else
            for (double v : x) out.push_back(v - advantage.ema);
        for (double& v : out) v /= divisor;
    } else {
        out = normalise(x, advantage.std, advantage.std_eps);
    }
    for (size_t k = 0; k < rows.size(); ++k) reward[rows[k]] = out[k];
}

// CAPO's: token rewards normalised over all tokens of a prompt, so that long completions weigh more.
static void normalise_group_tokens(Plan& plan, const Rollouts& r, const std::vector<int>& rows,
                                   std::span<const double> reward, const AlgoConfig& algo) {
    std::vector<double> x;
    for (int i : rows)
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n)
            x.push_back(reward[i] +
                        (r.credit.empty() ? 0 : algo.advantage.credit_weight * r.credit[n]));
    std::vector<double> out = normalise(x, algo.advantage.std, algo.advantage.std_eps);
    size_t k = 0;
    for (int i : rows)
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n) plan.advantage[n] = out[k++];
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

// Credit that is a Q value already: no sum over what comes later, and the value is its baseline.
static void token_advantages(Plan& plan, const Rollouts& r, std::span<const double> reward,
                             std::span<const double> rho, const AdvantageConfig& advantage) {
    const bool critic = advantage.value_weight != 0;
    double weight = advantage.value_weight;
    if (critic && advantage.scale_value) {
        double deviation = std::sqrt(variance(r.value_old, mean(r.value_old), false));
        weight = deviation > 0 ? weight / deviation : 0; // all equal: no baseline in them
    }
    if (critic) plan.ret.assign(r.tokens(), 0);
    for (int i = 0; i < r.rows(); ++i)
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n) {
            const double ret = reward[i] + rho[n];
            plan.advantage[n] = critic ? ret - weight * r.value_old[n] : ret;
            if (critic) plan.ret[n] = ret;
        }
}

// reward_to_go and gae: rewards, and what comes after them.
static void sums_to_come(Plan& plan, const Rollouts& r, std::span<const double> reward,
                         std::vector<double> rho, const AlgoConfig& algo) {
    const bool critic = algo.advantage.estimator == "gae";
    if (critic) plan.ret.assign(r.tokens(), 0);
    for (int i = 0; i < r.rows(); ++i) {
        int64_t first = r.offset[i], last = r.offset[i + 1] - 1;
        if (last >= first) rho[last] += reward[i];
        std::span<double> A(plan.advantage.data() + first, (size_t)r.length(i));
        if (critic)
            gae(A, {plan.ret.data() + first, A.size()}, {rho.data() + first, A.size()},
                row_of(r.value_old, r, i), algo.gamma, algo.lambda);
        else
            for (int64_t n = last; n >= first; --n)
                plan.advantage[n] = rho[n] + (n < last ? algo.gamma * plan.advantage[n + 1] : 0);
    }
}

void compute_advantages(Plan& plan, const Rollouts& r, const AlgoConfig& algo) {
    const AdvantageConfig& advantage = algo.advantage;
    std::vector<std::vector<int>> groups = rows_by_group(r);
    std::vector<double> reward = shaped_rewards(r, algo);
    plan.advantage.assign(r.tokens(), 0);
    plan.ret.clear();

    plan.single_groups = plan.equal_groups = 0;
    std::vector<uint8_t> silent(r.groups); // one completion, or equal rewards
    for (int g = 0; g < r.groups; ++g) {
        std::vector<double> x;
        for (int i : groups[g]) x.push_back(reward[i]);
        silent[g] = !has_signal(x);
        plan.single_groups += x.size() == 1;
        plan.equal_groups += x.size() > 1 && silent[g];
    }

    bool by_group = advantage.baseline == "group_mean" || advantage.baseline == "leave_one_out";
    if (advantage.estimator == "group_tokens") {
        for (const std::vector<int>& rows : groups)
            normalise_group_tokens(plan, r, rows, reward, algo);
    } else if (by_group) {
        for (const std::vector<int>& rows : groups) normalise_rows(reward, rows, advantage);
    } else if (advantage.baseline != "none") {
        std::vector<int> all(r.rows());
        for (int i = 0; i < r.rows(); ++i) all[i] = i;
        normalise_rows(reward, all, advantage);
    }

    if (advantage.estimator == "outcome") {
        for (int i = 0; i < r.rows(); ++i)
            std::fill_n(plan.advantage.begin() + r.offset[i], r.length(i), reward[i]);
    } else if (advantage.estimator == "token") {
        token_advantages(plan, r, reward, token_rewards(r, algo), advantage);
    } else if (advantage.estimator != "group_tokens") {
        sums_to_come(plan, r, reward, token_rewards(r, algo), algo);
    }

    if (advantage.whiten != "none") {
        whiten(plan.advantage, advantage.whiten == "unbiased", advantage.whiten_eps);
        for (int i = 0; by_group && advantage.estimator == "outcome" && i < r.rows(); ++i)
            if (silent[r.group[i]])
                std::fill_n(plan.advantage.begin() + r.offset[i], r.length(i), 0.0);
    }
    if (advantage.clip > 0)
        for (double& A : plan.advantage) A = std::clamp(A, -advantage.clip, advantage.clip);

    // The outcome of a completion without tokens still counts among its prompt's.
    plan.row_advantage = reward;
    for (int i = 0; i < r.rows(); ++i) {
        std::span<const double> A = row_of(plan.advantage, r, i);
        if (!A.empty()) plan.row_advantage[i] = all_equal(A) ? A[0] : mean(A);
    }
}

double next_ema(const AlgoConfig& algo, const Rollouts& rollouts) {
    double decay = algo.advantage.ema_decay;
    return decay * algo.advantage.ema + (1 - decay) * mean(rollouts.reward);
}
