#include "task/metrics.h"

#include "base/check.h"

#include <algorithm>
#include <cmath>
#include <map>

double pass_at_k(int n, int c, int k) {
    CHECK(k >= 1 && k <= n && c >= 0 && c <= n, "pass@%d of %d samples, %d right, is not defined",
          k, n, c);
    double miss = 1; // C(n-c, k) / C(n, k) = prod_i (n-c-i) / (n-i)
    for (int i = 0; i < k; ++i) miss *= std::max(0, n - c - i) / (double)(n - i);
    return 1 - miss;
}

static double choose(int n, int k) {
    double ways = 1;
    for (int i = 0; i < k; ++i) ways = ways * (n - i) / (i + 1);
    return ways;
}

double majority_at_k(const std::vector<std::string>& votes, const std::vector<bool>& right, int k) {
    int n = (int)votes.size();
    CHECK(k >= 1 && k <= n, "maj@%d of %d samples is not defined", k, n);
    int c = 0, abstain = 0;
    std::map<std::string, int> others;
    for (int s = 0; s < n; ++s) {
        if (right[s])
            ++c;
        else if (votes[s].empty())
            ++abstain;
        else
            ++others[votes[s]];
    }
    // The right party has j of the k; count the ways to fill the rest so that no other party has more
    // than j, by number of parties that have exactly j (ties).
    double won = 0;
    for (int j = 1; j <= std::min(c, k); ++j) {
        int rest = k - j, most_ties = rest / j;
        // ways[t][r]: r samples of the parties seen so far, t of the parties with j
        std::vector<std::vector<double>> ways(most_ties + 1, std::vector<double>(rest + 1, 0));
        for (int r = 0; r <= std::min(abstain, rest); ++r) ways[0][r] = choose(abstain, r);
        for (auto& [answer, size] : others) {
            auto next = ways; // the party takes none
            for (int t = 0; t <= most_ties; ++t)
                for (int take = 1; take <= std::min({size, j, rest}); ++take) {
                    int ties = t + (take == j);
                    if (ties > most_ties) continue;
                    double picks = choose(size, take);
                    for (int r = 0; r + take <= rest; ++r)
                        next[ties][r + take] += ways[t][r] * picks;
                }
            ways = next;
        }
        for (int t = 0; t <= most_ties; ++t) won += choose(c, j) * ways[t][rest] / (t + 1);
    }
    return won / choose(n, k);
}

Estimate mean_over_prompts(const std::vector<double>& values, int samples) {
    double P = (double)values.size(), mean = 0, spread = 0;
    CHECK(!values.empty(), "there is nothing to take a mean of");
    for (double value : values) mean += value / P;
    for (double value : values) spread += (value - mean) * (value - mean);
    double N = P;
    if (mean > 0 && mean < 1)
        N = spread > 0 ? std::clamp(mean * (1 - mean) * P * P / spread, P, P * samples)
                       : P * samples;
    const double z = 1.959963984540054;
    double center = (mean + z * z / (2 * N)) / (1 + z * z / N);
    double half = z * std::sqrt(mean * (1 - mean) / N + z * z / (4 * N * N)) / (1 + z * z / N);
    return {mean, std::max(0.0, center - half), std::min(1.0, center + half)};
}
