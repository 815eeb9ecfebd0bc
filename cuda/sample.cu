// Drawing a token per row, a block per row, by the rules of the CPU op: temperature, top-k, top-p, min-p in
// transformers' order, then inversion of the CDF in order of ids.
//
// A token's weight is exp(t - largest) as an integer multiple of 2^-40. Integer sums do not depend on their
// order, so that histograms by atomics give the same token every time, and a cut falls where it should
// however the row is split over threads.

#include "row_softmax.cuh"

namespace gpu {

using Weight64 = unsigned long long;

constexpr int bin_bits = 11, bins = 1 << bin_bits;
constexpr int segment = 256; // ids that a warp adds up at once
constexpr int longest_row = bins * segment;

struct SampleConstants {
    float inverse_temperature, min_p;
    double top_p;
    int top_k; // 0: off
    bool greedy;
};

struct SampleShared {
    Weight64 weight[bins]; // per bin of a histogram, or per segment of the row
    unsigned count[bins];
    Weight64 above_weight; // what the first warp found
    unsigned above_count;
    int found;
};

// The larger logit has the larger key; both zeros have the same. A bf16 has 16 bits of key.
template <class T> __device__ __forceinline__ unsigned order_key(float z) {
    const unsigned bits = __float_as_uint(z + 0.f);
    const unsigned key = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return z == z ? key >> (32 - 8 * sizeof(T)) : 0;
}

__device__ __forceinline__ bool is_finite(float x) { return fabsf(x) < INFINITY; }

// A row of logits and the largest term that may be drawn.
template <class T> struct Row {
    const T* z;
    int V;
    float inverse_temperature, largest;

    __device__ __forceinline__ float term(float x) const {
        const float e = expf(x * inverse_temperature - largest);
        return e >= 0 ? e : 0; // not of NaN
    }
    __device__ __forceinline__ Weight64 weight(float x) const {
        return (Weight64)(term(x) * 0x1p40f);
    }
    // f(element, id) for the thread's share of all elements
    template <int W, class F> __device__ __forceinline__ void each(F f) const {
        for (int v = threadIdx.x * W; v < V; v += row_threads * W) {
            const Floats<W> x = load<W>(z + v);
            UNROLL for (int i = 0; i < W; ++i) f(x.v[i], v + i);
        }
    }
};

// The tokens that stay: keys above `key`, and of those equal to it the ids up to last_id.
struct Cut {
    unsigned key = 0;
    int last_id = 0x7fffffff;
};
struct Selected {
    unsigned key, above_count; // tokens with a larger key
    Weight64 above_weight;     // and their weight
};

// Inclusive prefix sum over the lanes of a warp.
template <class T> __device__ __forceinline__ T prefix_sum(T x) {
    for (int step = 1; step < 32; step *= 2) {
        const T other = __shfl_up_sync(all_lanes, x, step);
        if ((int)threadIdx.x % 32 >= step) x += other;
    }
    return x;
}

// Tokens in order of falling keys: the key at which their count (or weight) reaches `wanted`. The key is
// found from its upper bits down, 11 bits by each histogram.
template <int W, class T>
__device__ Selected select_key(const Row<T>& row, bool by_count, Weight64 wanted,
                               SampleShared& shared) {
    constexpr int key_bits = 8 * sizeof(T);
    Selected at = {0, 0, 0};
    for (int bits = bin_bits, shift = key_bits - bits; bits > 0;
         bits = min(bin_bits, shift), shift -= bits) {
        for (int i = threadIdx.x; i < bins; i += row_threads)
            shared.weight[i] = 0, shared.count[i] = 0;
        __syncthreads();
        row.template each<W>([&](float x, int) {
            const unsigned key = order_key<T>(x);
            if (shift + bits < key_bits && key >> (shift + bits) != at.key) return;
            const unsigned bin = key >> shift & ((1u << bits) - 1);
            atomicAdd(&shared.count[bin], 1u);
            atomicAdd(&shared.weight[bin], row.weight(x));
        });
        __syncthreads();
        if (threadIdx.x < 32) { // a lane adds up 64 bins, the uppermost are lane 0's
            constexpr int share = bins / 32;
            const int top = bins - 1 - (int)threadIdx.x * share;
            Weight64 weight = 0;
            unsigned count = 0;
            for (int i = 0; i < share; ++i)
                weight += shared.weight[top - i], count += shared.count[top - i];
            Weight64 before_weight = at.above_weight + prefix_sum(weight) - weight;
            unsigned before_count = at.above_count + prefix_sum(count) - count;
            const Weight64 before = by_count ? before_count : before_weight;
            const Weight64 own = by_count ? count : weight;
            if (before < wanted && before + own >= wanted) {
                int bin = top;
                for (;; --bin) {
                    const Weight64 sum = by_count ? before_count + shared.count[bin]
                                                  : before_weight + shared.weight[bin];
                    if (sum >= wanted) break;
                    before_weight += shared.weight[bin], before_count += shared.count[bin];
                }
                shared.found = bin;
                shared.above_weight = before_weight, shared.above_count = before_count;
            }
        }
        __syncthreads();
        at.key = at.key << bits | (unsigned)shared.found;
        at.above_weight = shared.above_weight, at.above_count = shared.above_count;
    }
    return at;
}

// The first id at which the sum of weights, in order of ids, passes left(total); 0 if there is no weight.
// weight(element, id)
template <int W, class T, class F, class G>
__device__ int search_ids(const Row<T>& row, F weight, G left, SampleShared& shared) {
    const int lane = threadIdx.x % 32, segments = (row.V + segment - 1) / segment;
    // 8 neighbouring ids per lane
    auto lane_weight = [&](int at, int i) {
        const int v = at * segment + lane * 8 + i;
        return v < row.V ? weight(to_float(row.z[v]), v) : (Weight64)0;
    };
    // a few segments per warp at a time, so that their loads are under way together
    constexpr int warps = row_threads / 32, together = W == 8 ? 4 : 1;
    for (int first = threadIdx.x / 32; first < segments; first += together * warps) {
        Floats<W> x[together] = {};
        UNROLL for (int i = 0; i < together; ++i) {
            const int v = (first + i * warps) * segment + lane * 8;
            if (W == 8 && v < row.V) x[i] = load<W>(row.z + v);
        }
        UNROLL for (int i = 0; i < together; ++i) {
            const int at = first + i * warps, v = at * segment + lane * 8;
            Weight64 sum = 0;
            if (W != 8)
                for (int k = 0; k < 8; ++k) sum += lane_weight(at, k);
            else if (v < row.V)
                UNROLL for (int k = 0; k < W; ++k) sum += weight(x[i].v[k], v + k);
            sum = warp_sum(sum);
            if (lane == 0 && at < segments) shared.weight[at] = sum;
        }
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        // the segment: a lane adds up its share of them
        const int share = (segments + 31) / 32, first = lane * share;
        const int last = min(segments, first + share);
        Weight64 own = 0;
        for (int i = first; i < last; ++i) own += shared.weight[i];
        const Weight64 end = prefix_sum(own), total = __shfl_sync(all_lanes, end, 31);
        const Weight64 passed = left(total);
        if (lane == 0) shared.found = -1;
        __syncwarp();
        if (end - own <= passed && passed < end) {
            Weight64 before = end - own;
            int at = first;
            while (before + shared.weight[at] <= passed) before += shared.weight[at++];
            shared.found = at, shared.above_weight = before;
        }
        __syncwarp();
        // the id inside it
        const int at = shared.found;
        const Weight64 before_segment = shared.above_weight;
        __syncwarp();
        if (at >= 0) {
            Weight64 sum = 0;
            for (int i = 0; i < 8; ++i) sum += lane_weight(at, i);
            Weight64 before = before_segment + prefix_sum(sum) - sum;
            if (before <= passed && passed < before + sum) {
                int i = 0;
                for (;; ++i) {
                    before += lane_weight(at, i);
                    if (passed < before) break;
                }
                shared.found = at * segment + lane * 8 + i;
            }
        } else if (lane == 0) {
            shared.found = 0;
        }
    }
    __syncthreads();
    return shared.found;
}

// Where top-k and then top-p end.
template <int W, class T>
__device__ Cut find_cut(const Row<T>& row, const SampleConstants& options, SampleShared& shared) {
    Selected last = {0, 0, 0};
    Weight64 total = 0;
    unsigned ties = 0xffffffffu;          // of those equal to last.key
    auto key_weight = [&](unsigned key) { // of one token with this key
        constexpr int missing = 32 - 8 * sizeof(T);
        const unsigned wide = key << missing, low = (1u << missing) - 1;
        return row.weight(__uint_as_float(wide & 0x80000000u ? wide ^ 0x80000000u : ~(wide | low)));
    };
    if (options.top_k > 0) {
        last = select_key<W>(row, true, (Weight64)options.top_k, shared);
        ties = (unsigned)options.top_k - last.above_count;
        total = last.above_weight + ties * key_weight(last.key);
    } else {
        row.template each<W>([&](float x, int) { total += row.weight(x); });
        total = block_sum(total);
    }
    // A token stays while the weight before it is below top_p of the total: the one that crosses, too.
    if (options.top_p < 1 && total > 0) {
        const Weight64 wanted = max((Weight64)1, (Weight64)ceil(options.top_p * (double)total));
        const Selected end = select_key<W>(row, false, wanted, shared);
        const Weight64 each = key_weight(end.key);
        const unsigned needed =
            (unsigned)min((wanted - end.above_weight + each - 1) / each, (Weight64)0xffffffffu);
        ties = end.key == last.key ? min(ties, needed) : needed;
        last = end;
    }
    Cut cut = {last.key, 0x7fffffff};
    if (ties != 0xffffffffu)
        cut.last_id = search_ids<W>(
            row, [&](float x, int) { return (Weight64)(order_key<T>(x) == last.key); },
            [&](Weight64 equal) { return min(equal, (Weight64)ties) - 1; }, shared);
    return cut;
}

// The first id with the largest logit.
template <int W, class T> __device__ int first_largest(const Row<T>& row, SampleShared& shared) {
    Weight64 best = 0; // key, then the id from the end
    row.template each<W>([&](float x, int v) {
        best = max(best, (Weight64)order_key<T>(x) << 32 | (0xffffffffu - (unsigned)v));
    });
    for (int step = 16; step > 0; step /= 2)
        best = max(best, __shfl_xor_sync(all_lanes, best, step));
    if (threadIdx.x % 32 == 0) shared.weight[threadIdx.x / 32] = best;
    __syncthreads();
    for (int i = 0; i < row_threads / 32; ++i) best = max(best, shared.weight[i]);
    return (int)(0xffffffffu - (unsigned)best);
}

template <class T, int W>
__global__ void __launch_bounds__(row_threads, 2)
    sample_kernel(int* __restrict__ token, float* __restrict__ logp, float* __restrict__ entropy,
                  T* logits, const float* __restrict__ uniform, const int* __restrict__ barred,
                  int E, const int* __restrict__ bar, int V, SampleConstants options) {
    __shared__ SampleShared shared;
    const int b = blockIdx.x;
    T* z = logits + (int64_t)b * V;
    const RowSoftmax softmax = row_softmax<W>(z, V, options.inverse_temperature);
    Row<T> row = {z, V, options.inverse_temperature, softmax.largest};
    // A barred token keeps its logit for its share of the distribution, but cannot be drawn. Where it was
    // the largest, another is.
    bool was_largest = false;
    if (bar && bar[b] == 1)
        for (int i = threadIdx.x; i < E; i += row_threads) {
            T& logit = z[barred[i]];
            was_largest |= !(to_float(logit) * options.inverse_temperature < softmax.largest);
            logit = from_float<T>(-INFINITY);
        }
    if (bar && __syncthreads_or(was_largest)) {
        float most = -INFINITY;
        row.template each<W>(
            [&](float x, int) { most = fmaxf(most, x * options.inverse_temperature); });
        row.largest = block_max(most);
    }
    int drawn = 0;
    if (options.greedy) {
        drawn = first_largest<W>(row, shared);
    } else {
        Cut cut;
        // a row of NaNs has no order; its logp shows them
        if ((options.top_k > 0 || options.top_p < 1) && is_finite(softmax.sum) &&
            is_finite(row.largest))
            cut = find_cut<W>(row, options, shared);
        const float u = uniform[b];
        drawn = search_ids<W>(
            row,
            [&](float x, int v) {
                const unsigned key = order_key<T>(x);
                const bool stays = key > cut.key || (key == cut.key && v <= cut.last_id);
                return stays && !(row.term(x) < options.min_p) ? row.weight(x) : 0;
            },
            [&](Weight64 total) {
                const Weight64 left = (Weight64)((double)u * (double)total);
                return left < total ? left : total - 1;
            },
            shared);
    }
    if (threadIdx.x != 0) return;
    token[b] = drawn;
    logp[b] = softmax.logp(to_float(z[drawn]) * options.inverse_temperature);
    if (entropy) entropy[b] = softmax.entropy();
}

template <class T>
static void sample(Tensor token_, Tensor logp_, Tensor entropy_, Tensor logits_, Tensor uniform_,
                   Tensor barred_, Tensor bar_, const SampleOptions& options) {
    const char* op = "sample";
    const int64_t B = logits_.shape[0], V = logits_.shape[1];
    int* token = arg<int>(op, "token", token_, {B});
    float* logp = arg<float>(op, "logp", logp_, {B});
    float* entropy = optional_arg<float>(op, "entropy", entropy_, {B});
    T* logits = arg<T>(op, "logits", logits_, {B, V});
    const float* uniform = arg<float>(op, "uniform", uniform_, {B});
    const int* bar = optional_arg<int>(op, "bar", bar_, {B});
    const int* barred = optional_arg<int>(op, "barred", barred_, {barred_.size()});
    CHECK(!bar == !barred, "%s: barred and bar go together", op);
    CHECK(options.temperature >= 0, "%s: the temperature must be at least 0, not %g", op,
          options.temperature);
    CHECK(V <= longest_row, "%s: a vocabulary of %lld; this backend takes up to %d", op,
          (long long)V, longest_row);
    const bool greedy = options.temperature == 0;
    const SampleConstants constants = {
        .inverse_temperature = greedy ? 1.f : (float)(1 / options.temperature),
        .min_p = (float)options.min_p,
        .top_p = options.top_p,
        .top_k = options.top_k > 0 && options.top_k < V ? options.top_k : 0,
        .greedy = greedy,
    };
    with_width(V % full_width == 0 && is_aligned(logits), [&](auto W) {
        launch(op, sample_kernel<T, W>, (unsigned)B, row_threads, 0, token, logp, entropy, logits,
               uniform, barred, barred ? (int)barred_.size() : 0, bar, (int)V, constants);
    });
}

template <class T> void install_sample(Ops& ops) { ops.sample = sample<T>; }
template void install_sample<float>(Ops&);
template void install_sample<bf16>(Ops&);

} // namespace gpu
