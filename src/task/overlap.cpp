#include "task/overlap.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

double bleu1(const OverlapTokens& candidate, const std::vector<OverlapTokens>& references,
             bool smooth) {
    std::map<std::string, int> count, limit;
    for (const std::string& token : candidate) ++count[token];
    for (const OverlapTokens& reference : references) {
        std::map<std::string, int> here;
        for (const std::string& token : reference) ++here[token];
        for (auto [token, n] : here) limit[token] = std::max(limit[token], n);
    }
    int matches = 0;
    for (auto [token, n] : count) matches += std::min(n, limit.count(token) ? limit[token] : 0);
    if (matches == 0) return 0;
    const int c = (int)candidate.size();
    int r = (int)references[0].size();
    for (const OverlapTokens& reference : references) {
        const int n = (int)reference.size();
        if (std::abs(n - c) < std::abs(r - c) || (std::abs(n - c) == std::abs(r - c) && n < r))
            r = n;
    }
    const double precision = (double)(matches + smooth) / (c + smooth);
    return precision * (c < r ? std::exp(1 - (double)r / c) : 1);
}

static int common_subsequence(const OverlapTokens& a, const OverlapTokens& b) {
    std::vector<int> longest(b.size() + 1, 0); // of a's tokens so far and b's first j
    for (const std::string& token : a) {
        int diagonal = 0;
        for (size_t j = 1; j <= b.size(); ++j) {
            const int above = longest[j];
            longest[j] = token == b[j - 1] ? diagonal + 1 : std::max(above, longest[j - 1]);
            diagonal = above;
        }
    }
    return longest.back();
}

double rouge_l(const OverlapTokens& candidate, const std::vector<OverlapTokens>& references) {
    double P = 0, R = 0;
    for (const OverlapTokens& reference : references) {
        if (candidate.empty() || reference.empty()) continue;
        const double lcs = common_subsequence(candidate, reference);
        P = std::max(P, lcs / (double)candidate.size());
        R = std::max(R, lcs / (double)reference.size());
    }
    const double beta2 = 1.2 * 1.2;
    return P > 0 && R > 0 ? (1 + beta2) * P * R / (R + beta2 * P) : 0;
}
