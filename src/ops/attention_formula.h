#pragma once
// Attention over a ragged batch in plain loops and f64: what attention.cpp and cuda/attention.cu
// compute in tiles, and what their tests compare them with. Read this first. Same arguments as the
// ops of ops.h.
//
//   S_ij = scale <q_i, k_j> for the tokens j that i sees        P_ij = exp(S_ij - lse_i)
//   lse_i = log sum_j exp(S_ij)                                 y_i = sum_j P_ij v_j
//
//   dP_ij = <dy_i, v_j>                dS_ij = P_ij (dP_ij - delta_i),  delta_i = sum_j P_ij dP_ij
//   dq_i += scale sum_j dS_ij k_j      dk_j += scale sum_i dS_ij q_i    dv_j += sum_i P_ij dy_i

#include "ops/ops.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace formula {

// Token i of a sequence sees the tokens 0 .. limit-1: itself and all before it, or, in a prefix
// whose tokens see each other in both directions, the whole prefix.
inline int limit(const Ragged& ragged, int s, int i) {
    const int prefix = ragged.prefix ? ragged.prefix.as<int>()[s] : 0;
    return i < prefix ? prefix : i + 1;
}

// Tokens of a sequence, the parent's first, as rows of the tensors; the last `own` are its own.
struct Tokens {
    std::vector<int64_t> row;
    int own = 0;
};
inline Tokens tokens_of(const Ragged& ragged, int s) {
    const int* begin = ragged.begin.as<int>();
    const int parent = ragged.parent ? ragged.parent.as<int>()[s] : -1;
    Tokens tokens;
    tokens.own = begin[s + 1] - begin[s];
    for (int of : {parent, s})
        for (int n = of < 0 ? 0 : begin[of]; n < (of < 0 ? 0 : begin[of + 1]); ++n)
            tokens.row.push_back(ragged.row ? ragged.row.as<int>()[n] : n);
    return tokens;
}

// Rows of query head h, and of the key/value head that it reads, in (N, (H+2K) D).
struct Heads {
    double* x;
    int H, K, D;
    double* q(int64_t n, int h) const { return x + (n * (H + 2 * K) + h) * D; }
    double* k(int64_t n, int h) const { return x + (n * (H + 2 * K) + H + h / (H / K)) * D; }
    double* v(int64_t n, int h) const { return k(n, h) + K * D; }
};
inline Heads heads_of(const Tensor& qkv, int H, int K) {
    return {qkv.as<double>(), H, K, (int)qkv.shape[1] / (H + 2 * K)};
}
inline double dot(const double* a, const double* b, int D) {
    double sum = 0;
    for (int d = 0; d < D; ++d) sum += a[d] * b[d];
    return sum;
}

// P_i of one token and head over the tokens that it sees; returns lse_i.
inline double softmax(std::vector<double>& P, const Heads& x, const Tokens& tokens, int i,
                      int limit, int h, double scale) {
    double m = -INFINITY, l = 0;
    P.resize(limit);
    for (int j = 0; j < limit; ++j) {
        P[j] = scale * dot(x.q(tokens.row[i], h), x.k(tokens.row[j], h), x.D);
        m = std::max(m, P[j]);
    }
    for (double S : P) l += std::exp(S - m);
    for (double& S : P) S = std::exp(S - m) / l;
    return m + std::log(l);
}

// Calls f(tokens, i, h, P, lse) for every own token i and query head h of every sequence.
template <class F> void each_query(const Heads& x, const Ragged& ragged, double scale, const F& f) {
    std::vector<double> P;
    for (int s = 0; s < ragged.sequences; ++s) {
        const Tokens tokens = tokens_of(ragged, s);
        const int length = (int)tokens.row.size();
        for (int i = length - tokens.own; i < length; ++i)
            for (int h = 0; h < x.H; ++h) {
                const double lse = softmax(P, x, tokens, i, limit(ragged, s, i), h, scale);
                f(tokens, i, h, P, lse);
            }
    }
}

inline void attention_forward(Tensor y_, Tensor lse_, Tensor qkv, const Ragged& ragged, int H,
                              int K, double scale) {
    const Heads x = heads_of(qkv, H, K);
    each_query(x, ragged, scale,
               [&](const Tokens& tokens, int i, int h, const std::vector<double>& P, double lse) {
                   const int64_t n = tokens.row[i] * H + h;
                   double* y = y_.as<double>() + n * x.D;
                   std::fill(y, y + x.D, 0.0);
                   for (size_t j = 0; j < P.size(); ++j)
                       for (int d = 0; d < x.D; ++d) y[d] += P[j] * x.v(tokens.row[j], h)[d];
                   lse_.as<double>()[n] = lse;
               });
}

inline void attention_backward(Tensor dqkv, Tensor dy_, Tensor qkv, const Ragged& ragged, int H,
                               int K, double scale) {
    const Heads x = heads_of(qkv, H, K), dx = heads_of(dqkv, H, K);
    each_query(x, ragged, scale,
               [&](const Tokens& tokens, int i, int h, const std::vector<double>& P, double) {
                   const int64_t n = tokens.row[i];
                   const double* dy = dy_.as<double>() + (n * H + h) * x.D;
                   double delta = 0;
                   for (size_t j = 0; j < P.size(); ++j)
                       delta += P[j] * dot(dy, x.v(tokens.row[j], h), x.D);
                   for (size_t j = 0; j < P.size(); ++j) {
                       const int64_t at = tokens.row[j];
                       const double dP = dot(dy, x.v(at, h), x.D), dS = P[j] * (dP - delta);
                       for (int d = 0; d < x.D; ++d) {
                           dx.q(n, h)[d] += scale * dS * x.k(at, h)[d];
                           dx.k(at, h)[d] += scale * dS * x.q(n, h)[d];
                           dx.v(at, h)[d] += P[j] * dy[d];
                       }
                   }
               });
}

} // namespace formula
