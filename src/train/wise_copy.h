#pragma once
// The copy term of WISE's response generator [Ren et al. 2021]: half of a token's probability is the LM head's,
// half that of copying it from one of the memories which the response reads (the context, and each selected
// query and passage).
//
//     P(y) = 0.5 S_y + 0.5 c_y                  S = softmax(z)
//     c_y  = max_m s_m sum_j a_mj [x_mj = y]    x_m: tokens of memory m; s_m: 1, in use sigmoid(its score)
//     a_mj = mean_h softmax_j(q_h . k_hj / sqrt(D)), j within the memory m, in the last layer
//     L    = -log(P(y) + 1e-8)
//
// The authors' decoder attends to every memory apart; here the trunk's queries and keys do, without weights of
// their own. A maximum of shares: P does not sum to one.

#include <cstddef>
#include <cstdint>
#include <vector>

struct CopyMemory {
    int first = 0;               // row of the batch in which its first token stands
    std::vector<int32_t> tokens; // x_m, side by side
    double weight = 1;           // s_m, without gradient
};
using MemoryAttention = std::vector<std::vector<double>>; // a[m][j] of one row

// c_y, and the memory that it is from, the first of equal ones: there its gradient goes.
struct Copied {
    double share = 0;
    int from = 0;
};
Copied copied(const std::vector<CopyMemory>& memories, const MemoryAttention& a, int32_t y);
// dc / da_mj of the memory that c is from.
std::vector<double> copied_backward(const CopyMemory& from, int32_t y, double dc);

// L, dL / d log S_y and dL / dc_y.
struct MixedLoss {
    double loss = 0, dlogp = 0, dc = 0;
};
MixedLoss mixed_loss(double logp, double c);

// The last layer's queries, keys and values, behind rope.   qkv: (N, (H+2K) D)
struct LastAttention {
    int H, K, D;
    double scale; // of q . k
    std::vector<double> qkv;
    MemoryAttention attend(int row, const std::vector<CopyMemory>& memories) const;
    // dqkv (as qkv) += what comes from da of one memory.
    void backward(int row, const CopyMemory& memory, const std::vector<double>& da,
                  std::vector<double>& dqkv) const;

private:
    size_t width() const { return (size_t)(H + 2 * K) * D; }
    size_t query(int row, int h) const { return row * width() + (size_t)h * D; }
    size_t key(int row, int h) const { return row * width() + (size_t)(H + h / (H / K)) * D; }
    std::vector<double> softmax(int row, int h, const CopyMemory& memory) const;
};
