#include "train/wise_copy.h"

#include <algorithm>
#include <cmath>

Copied copied(const std::vector<CopyMemory>& memories, const MemoryAttention& a, int32_t y) {
    Copied best;
    for (size_t m = 0; m < memories.size(); ++m) {
        double sum = 0;
        for (size_t j = 0; j < a[m].size(); ++j)
            if (memories[m].tokens[j] == y) sum += a[m][j];
        if (const double share = memories[m].weight * sum; share > best.share)
            best = {share, (int)m};
    }
    return best;
}

std::vector<double> copied_backward(const CopyMemory& from, int32_t y, double dc) {
    std::vector<double> da(from.tokens.size(), 0);
    for (size_t j = 0; j < da.size(); ++j)
        if (from.tokens[j] == y) da[j] = dc * from.weight;
    return da;
}

MixedLoss mixed_loss(double logp, double c) {
    const double S = std::exp(logp), p = 0.5 * S + 0.5 * c + 1e-8;
    return {-std::log(p), -0.5 * S / p, -0.5 / p};
}

std::vector<double> LastAttention::softmax(int row, int h, const CopyMemory& memory) const {
    std::vector<double> p(memory.tokens.size());
    for (size_t j = 0; j < p.size(); ++j) {
        const double *q = &qkv[query(row, h)], *k = &qkv[key(memory.first + (int)j, h)];
        double sum = 0;
        for (int d = 0; d < D; ++d) sum += q[d] * k[d];
        p[j] = scale * sum;
    }
    const double top = p.empty() ? 0 : *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& one : p) one = std::exp(one - top), sum += one;
    for (double& one : p) one /= sum;
    return p;
}

MemoryAttention LastAttention::attend(int row, const std::vector<CopyMemory>& memories) const {
    MemoryAttention a;
    for (const CopyMemory& memory : memories) {
        a.emplace_back(memory.tokens.size(), 0.0);
        for (int h = 0; h < H; ++h) {
            const std::vector<double> p = softmax(row, h, memory);
            for (size_t j = 0; j < p.size(); ++j) a.back()[j] += p[j] / H;
        }
    }
    return a;
}

void LastAttention::backward(int row, const CopyMemory& memory, const std::vector<double>& da,
                             std::vector<double>& dqkv) const {
    for (int h = 0; h < H; ++h) {
        const std::vector<double> p = softmax(row, h, memory);
        double mean = 0; // sum_j p_j dp_j, dp_j = da_j / H
        for (size_t j = 0; j < p.size(); ++j) mean += p[j] * da[j] / H;
        for (size_t j = 0; j < p.size(); ++j) {
            const double ds = scale * p[j] * (da[j] / H - mean);
            const size_t q = query(row, h), k = key(memory.first + (int)j, h);
            for (int d = 0; d < D; ++d) {
                dqkv[q + d] += ds * qkv[k + d];
                dqkv[k + d] += ds * qkv[q + d];
            }
        }
    }
}
