#pragma once
// What products of a weight with few rows are made of, and what is made of them: the residual sum, SwiGLU,
// or rope and the cache.

#include "cache.cuh"

namespace gpu {

// x (N, C), normed by `norm` (C) where a kernel says so, and w (.., C).
struct FewRows {
    const bf16* x;
    const bf16* w;
    const bf16* norm;
    int N, C;
    float eps;
};

// What is made of the products, a struct per kernel. The weight is cut into units of two (or one) pieces of 8
// rows. A struct says where a unit's pieces begin, and for row n of x and columns c, c + 1 of each piece what
// there is to read before the launches before this one have ended, after that, and to do with the sums.
struct Nothing {};

// y = w x
struct StoreProduct {
    static constexpr int pieces = 2;
    bf16* y;
    int O;
    __device__ __forceinline__ int row(int unit, int piece) const {
        return min(unit * 16 + piece * 8, O - 8);
    }
    __device__ __forceinline__ Nothing read_early(int, int, int) const { return {}; }
    __device__ __forceinline__ Nothing read(Nothing, int, int, int) const { return {}; }
    __device__ __forceinline__ void finish(Nothing, int unit, int n, int c,
                                           const float (&sum)[2][2]) const {
        UNROLL for (int j = 0; j < 2; ++j) {
            const int o = unit * 16 + j * 8 + c;
            if (o < O)
                *reinterpret_cast<Word*>(y + (int64_t)n * O + o) =
                    pack_halves(sum[j][0], sum[j][1]);
        }
    }
};

// z = x + w y, the product rounded before the sum as where it is stored
struct AddProduct {
    static constexpr int pieces = 1;
    bf16* z;
    const bf16* x;
    int O;
    __device__ __forceinline__ int row(int unit, int) const { return unit * 8; }
    __device__ __forceinline__ Nothing read_early(int, int, int) const { return {}; }
    __device__ __forceinline__ unsigned read(Nothing, int unit, int n, int c) const {
        return *reinterpret_cast<const Word*>(x + (int64_t)n * O + unit * 8 + c);
    }
    __device__ __forceinline__ void finish(unsigned given, int unit, int n, int c,
                                           const float (&sum)[1][2]) const {
        const unsigned product = pack_halves(sum[0][0], sum[0][1]);
        *reinterpret_cast<Word*>(z + (int64_t)n * O + unit * 8 + c) =
            pack_halves(low_half(given) + low_half(product), high_half(given) + high_half(product));
    }
};

// y = silu(gate) up: rows f and F + f of the weight
struct StoreSwiglu {
    static constexpr int pieces = 2;
    bf16* y;
    int F;
    __device__ __forceinline__ int row(int unit, int piece) const { return piece * F + unit * 8; }
    __device__ __forceinline__ Nothing read_early(int, int, int) const { return {}; }
    __device__ __forceinline__ Nothing read(Nothing, int, int, int) const { return {}; }
    __device__ __forceinline__ void finish(Nothing, int unit, int n, int c,
                                           const float (&sum)[2][2]) const {
        float out[2];
        UNROLL for (int i = 0; i < 2; ++i) {
            const float g = to_float(from_float<bf16>(sum[0][i]));
            const float u = to_float(from_float<bf16>(sum[1][i]));
            out[i] = g * sigmoid(g) * u;
        }
        *reinterpret_cast<Word*>(y + (int64_t)n * F + unit * 8 + c) = pack_halves(out[0], out[1]);
    }
};

// Queries, turned, to qkv; keys, turned, and values to the cache: channels i and D/2 + i of a head
struct StoreQkv {
    static constexpr int pieces = 2;
    bf16 *qkv, *keys, *values;
    const bf16* bias; // or null
    const int *position, *slot;
    const float* table;
    int H, K, D;
    __device__ __forceinline__ int row(int unit, int piece) const {
        const int per_head = D / 16;
        return unit / per_head * D + unit % per_head * 8 + piece * (D / 2);
    }
    struct Inputs {
        int slot;
        float bias[2][2], cosine[2], sine[2];
    };
    __device__ __forceinline__ Inputs read_early(int unit, int n, int c) const {
        const int first = row(unit, 0) + c, head = first / D, i = first % D;
        Inputs in = {slot[n], {}, {1, 1}, {}};
        UNROLL for (int k = 0; k < 2; ++k) {
            if (bias)
                UNROLL for (int j = 0; j < 2; ++j) in.bias[j][k] =
                    to_float(bias[first + j * (D / 2) + k]);
            if (head >= H + K) continue;
            const float* angle = table + (int64_t)position[n] * D + i + k;
            in.cosine[k] = angle[0], in.sine[k] = angle[D / 2];
        }
        return in;
    }
    __device__ __forceinline__ Inputs read(const Inputs& in, int, int, int) const { return in; }
    __device__ __forceinline__ void finish(const Inputs& in, int unit, int n, int c,
                                           const float (&sum)[2][2]) const {
        const int first = row(unit, 0) + c, head = first / D, i = first % D;
        float low[2], high[2];
        UNROLL for (int k = 0; k < 2;
                    ++k) { // rounded before they are turned, as where they are stored
            const float x = to_float(from_float<bf16>(sum[0][k] + in.bias[0][k]));
            const float y = to_float(from_float<bf16>(sum[1][k] + in.bias[1][k]));
            low[k] = x * in.cosine[k] - y * in.sine[k];
            high[k] = y * in.cosine[k] + x * in.sine[k];
        }
        bf16* to = qkv + ((int64_t)n * (H + 2 * K) + head) * D;
        if (head >= H) {
            if (in.slot < 0) return;
            to = head < H + K ? keys + cache_row(in.slot, head - H, K, D)
                              : values + cache_row(in.slot, head - H - K, K, D);
        }
        *reinterpret_cast<Word*>(to + i) = pack_halves(low[0], low[1]);
        *reinterpret_cast<Word*>(to + i + D / 2) = pack_halves(high[0], high[1]);
    }
};

} // namespace gpu
