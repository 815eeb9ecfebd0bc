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
        const float e = exp2_approximate((x * inverse_temperature - largest) * log2_e);
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

// weight(element, id) of the id that is element i of a lane's 8 in a segment; 0 behind the row's end
template <class T, class F>
__device__ __forceinline__ Weight64 weight_at(const Row<T>& row, F weight, int at, int i) {
    const int v = at * segment + (int)threadIdx.x % 32 * 8 + i;
    return v < row.V ? weight(to_float(row.z[v]), v) : (Weight64)0;
}

// The sums over the segments first .. last - 1, to to[0] ..; a few per warp at a time, so that their loads
// are under way together.
template <int W, class T, class F>
__device__ void weigh_segments(const Row<T>& row, F weight, int first, int last, Weight64* to) {
    constexpr int warps = row_threads / 32, together = W == 8 && sizeof(T) == 2 ? 2 : 1;
    const int lane = threadIdx.x % 32;
    for (int begin = first + threadIdx.x / 32; begin < last; begin += together * warps) {
        Floats<W> x[together] = {};
        UNROLL for (int i = 0; i < together; ++i) {
            const int at = begin + i * warps, v = at * segment + lane * 8;
            if (W == 8 && at < last && v < row.V) x[i] = load<W>(row.z + v);
        }
        UNROLL for (int i = 0; i < together; ++i) {
            const int at = begin + i * warps, v = at * segment + lane * 8;
            Weight64 sum = 0;
            if (W != 8)
                for (int k = 0; k < 8; ++k) sum += weight_at(row, weight, at, k);
            else if (at < last && v < row.V)
                UNROLL for (int k = 0; k < W; ++k) sum += weight(x[i].v[k], v + k);
            sum = warp_sum(sum);
            if (lane == 0 && at < last) to[at - first] = sum;
        }
    }
}

// The first id at which the sum of weights, in order of ids, passes left(total); 0 if there is no weight.
// shared.weight: of the segments, as all threads see them
template <class T, class F, class G>
__device__ int find_id(const Row<T>& row, F weight, G left, SampleShared& shared) {
    const int lane = threadIdx.x % 32, segments = (row.V + segment - 1) / segment;
    auto lane_weight = [&](int at, int i) { return weight_at(row, weight, at, i); };
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

template <int W, class T, class F, class G>
__device__ int search_ids(const Row<T>& row, F weight, G left, SampleShared& shared) {
    weigh_segments<W>(row, weight, 0, (row.V + segment - 1) / segment, shared.weight);
    __syncthreads();
    return find_id(row, weight, left, shared);
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

// Takes the barred ids out of a row: a barred token keeps its logit for its share of the distribution, but
// cannot be drawn. Returns the largest term that can.
template <int W, class T>
__device__ float bar_ids(T* z, const int* barred, int E, const Row<T>& row) {
    bool was_largest = false;
    for (int i = threadIdx.x; i < E; i += row_threads) {
        T& logit = z[barred[i]];
        was_largest |= !(to_float(logit) * row.inverse_temperature < row.largest);
        logit = from_float<T>(-INFINITY);
    }
    if (!__syncthreads_or(was_largest)) return row.largest;
    float most = -INFINITY;
    row.template each<W>([&](float x, int) { most = fmaxf(most, x * row.inverse_temperature); });
    return block_max(most);
}

struct Drawn {
    int* token;
    float *logp, *entropy; // entropy may be null
    __device__ __forceinline__ void set(int b, int id, float t, const RowSoftmax& softmax) const {
        token[b] = id;
        logp[b] = softmax.logp(t);
        if (entropy) entropy[b] = softmax.entropy();
    }
};

// Which ids may not be drawn in the rows where bar is 1; null: none.
struct Bars {
    const int *barred, *bar;
    int E;
};

// The id whose share of (0, 1) has u in it, by integer weights.
struct LeftOfUniform {
    float u;
    __device__ __forceinline__ Weight64 operator()(Weight64 total) const {
        const Weight64 left = (Weight64)((double)u * (double)total);
        return left < total ? left : total - 1;
    }
};

template <class T, int W>
__global__ void __launch_bounds__(row_threads, 1) // with 2 ptxas would spill
    sample_kernel(Drawn out, T* logits, const float* uniform, Bars bars, int V,
                  SampleConstants options) {
    __shared__ SampleShared shared;
    const int b = blockIdx.x;
    T* z = logits + (int64_t)b * V;
    let_next_launch_begin();
    wait_for_earlier_launches();
    const RowSoftmax softmax = row_softmax<W>(z, V, options.inverse_temperature);
    Row<T> row = {z, V, options.inverse_temperature, softmax.largest};
    if (bars.bar && bars.bar[b] == 1) row.largest = bar_ids<W>(z, bars.barred, bars.E, row);
    int drawn = 0;
    if (options.greedy) {
        drawn = first_largest<W>(row, shared);
    } else {
        Cut cut;
        // a row of NaNs has no order; its logp shows them
        if ((options.top_k > 0 || options.top_p < 1) && is_finite(softmax.sum) &&
            is_finite(row.largest))
            cut = find_cut<W>(row, options, shared);
        drawn = search_ids<W>(
            row,
            [&](float x, int v) {
                const unsigned key = order_key<T>(x);
                const bool stays = key > cut.key || (key == cut.key && v <= cut.last_id);
                return stays && !(row.term(x) < options.min_p) ? row.weight(x) : 0;
            },
            LeftOfUniform{uniform[b]}, shared);
    }
    if (threadIdx.x == 0)
        out.set(b, drawn, to_float(z[drawn]) * options.inverse_temperature, softmax);
}

// ---- rows that nothing is cut off ---------------------------------------------------------------
// Then there are two passes: the softmax of the row, and its weights, a sum per segment. Few rows would leave
// the device idle with a block per row: many blocks share the softmax, to the same bits. Many blocks share the
// weights whatever the number of rows; of either pass the last block ends the work.

constexpr int most_shared_rows = 32; // whose softmax is shared

struct SharedRows {
    float* parts;      // (B, slices, 3, row_threads): of every thread of a slice
    float* row;        // (B, 4): RowSoftmax, then the largest term that can be drawn
    Weight64* weights; // (B, segments)
    int* tickets;      // (B)
};

template <int W, class T>
__device__ __forceinline__ void store_softmax(SharedRows shared, T* z, int b, int V,
                                              float inverse_temperature, const RowSoftmax& softmax,
                                              Bars bars) {
    Row<T> row = {z, V, inverse_temperature, softmax.largest};
    if (bars.bar && bars.bar[b] == 1) row.largest = bar_ids<W>(z, bars.barred, bars.E, row);
    if (threadIdx.x != 0) return;
    float* to = shared.row + 4 * b;
    to[0] = softmax.largest, to[1] = softmax.sum, to[2] = softmax.weighted, to[3] = row.largest;
}

// grid: (slices, B)
template <class T, int W>
__global__ void __launch_bounds__(row_threads, 2)
    share_softmax_kernel(SharedRows shared, T* logits, Bars bars, int V,
                         float inverse_temperature) {
    const int slice = blockIdx.x, slices = gridDim.x, b = blockIdx.y;
    T* z = logits + (int64_t)b * V;
    float* parts = shared.parts + (int64_t)b * slices * 3 * row_threads + threadIdx.x;
    let_next_launch_begin();
    wait_for_earlier_launches();
    const RowSoftmax own = slice_softmax<W>(z, V, inverse_temperature, slice);
    float* part = parts + slice * 3 * row_threads;
    part[0] = own.largest, part[row_threads] = own.sum, part[2 * row_threads] = own.weighted;
    if (!is_last_block(shared.tickets + b, slices)) return;
    RowSoftmax sums = {-1e30f, 0, 0};
    UNROLL_BY(4) for (int i = 0; i < slices; ++i) {
        part = parts + i * 3 * row_threads;
        sums.join({__ldcg(part), __ldcg(part + row_threads), __ldcg(part + 2 * row_threads)});
    }
    sums = over_threads(sums);
    store_softmax<W>(shared, z, b, V, inverse_temperature, sums, bars);
}

// The same by one block per row.
template <class T, int W>
__global__ void __launch_bounds__(row_threads, 3)
    whole_softmax_kernel(SharedRows shared, T* logits, Bars bars, int V,
                         float inverse_temperature) {
    const int b = blockIdx.x;
    T* z = logits + (int64_t)b * V;
    let_next_launch_begin();
    wait_for_earlier_launches();
    store_softmax<W>(shared, z, b, V, inverse_temperature,
                     row_softmax<W>(z, V, inverse_temperature), bars);
}

constexpr int shared_segments = 64; // of a block

// grid: (segments / shared_segments, B)
template <class T, int W>
__global__ void __launch_bounds__(row_threads, 2)
    share_draw_kernel(SharedRows from, Drawn out, T* logits, const float* uniform, int V,
                      float inverse_temperature) {
    __shared__ SampleShared shared;
    const int b = blockIdx.y, segments = (V + segment - 1) / segment;
    const int first = blockIdx.x * shared_segments;
    T* z = logits + (int64_t)b * V;
    Weight64* weights = from.weights + (int64_t)b * segments;
    const float u = uniform[b];
    let_next_launch_begin();
    wait_for_earlier_launches();
    const float* of = from.row + 4 * b;
    const RowSoftmax softmax = {of[0], of[1], of[2]};
    const Row<T> row = {z, V, inverse_temperature, of[3]};
    auto weight = [&](float x, int) { return row.weight(x); };
    weigh_segments<W>(row, weight, first, min(segments, first + shared_segments), weights + first);
    if (!is_last_block(from.tickets + b, gridDim.x)) return;
    for (int i = threadIdx.x; i < segments; i += row_threads)
        shared.weight[i] = __ldcg(weights + i);
    __syncthreads();
    const int drawn = find_id(row, weight, LeftOfUniform{u}, shared);
    if (threadIdx.x == 0) out.set(b, drawn, to_float(z[drawn]) * inverse_temperature, softmax);
}

template <class T, int W>
static void sample_shared(const char* op, const Drawn& out, T* logits, const float* uniform,
                          const Bars& bars, int64_t B, int V, float inverse_temperature) {
    const int64_t slices = ceil_div(V, slice_width<W>), segments = ceil_div(V, segment);
    const size_t weights = B * segments * sizeof(Weight64), row = 4 * B * sizeof(float);
    const bool shares = B <= most_shared_rows;
    const size_t parts = shares ? B * slices * 3 * row_threads * sizeof(float) : 0;
    char* memory = (char*)scratch(weights + row + parts);
    const SharedRows shared = {(float*)(memory + weights + row), (float*)(memory + weights),
                               (Weight64*)memory, context().tickets};
    if (shares)
        launch_overlapped(op, share_softmax_kernel<T, W>, dim3((unsigned)slices, (unsigned)B),
                          row_threads, 0, shared, logits, bars, V, inverse_temperature);
    else
        launch_overlapped(op, whole_softmax_kernel<T, W>, (unsigned)B, row_threads, 0, shared,
                          logits, bars, V, inverse_temperature);
    launch_overlapped(op, share_draw_kernel<T, W>,
                      dim3((unsigned)ceil_div(segments, shared_segments), (unsigned)B), row_threads,
                      0, shared, out, logits, uniform, V, inverse_temperature);
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
    const Drawn out = {token, logp, entropy};
    const Bars bars = {barred, bar, barred ? (int)barred_.size() : 0};
    const bool in_order =
        greedy || constants.top_k > 0 || constants.top_p < 1 || constants.min_p > 0;
    with_width(V % full_width == 0 && is_aligned(logits), [&](auto W) {
        if (!in_order && B <= most_tickets && V > slice_width<W>)
            return sample_shared<T, W>(op, out, logits, uniform, bars, B, (int)V,
                                       constants.inverse_temperature);
        launch_overlapped(op, sample_kernel<T, W>, (unsigned)B, row_threads, 0, out, logits,
                          uniform, bars, (int)V, constants);
    });
}

template <class T> void install_sample(Ops& ops) { ops.sample = sample<T>; }
template void install_sample<float>(Ops&);
template void install_sample<bf16>(Ops&);

} // namespace gpu
