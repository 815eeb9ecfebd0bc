// Drawing a token per row. The cuts follow transformers' logits warpers in their order (temperature,
// top-k, top-p, min-p); a token that is cut has its logit set to -infinity, and then every row is drawn
// by the same inversion of the CDF, in order of ids.

#include "ops/install.h"
#include "ops/row_softmax.h"

#include <algorithm>
#include <vector>

namespace cpu {

// Inverts the CDF of the terms exp(t - largest): first over blocks, then inside one.
template <class T>
static int32_t draw(const T* z, int64_t V, T inverse_temperature, T largest, double uniform) {
    thread_local std::vector<double> sums;
    sums.clear();
    double total = 0;
    for (int64_t v = 0; v < V; v += softmax_block) {
        sums.push_back(
            block_sum(z + v, std::min(softmax_block, V - v), inverse_temperature, largest));
        total += sums.back();
    }
    double left = uniform * total;
    int64_t block = 0, last_block = 0;
    for (int64_t b = 0; b < (int64_t)sums.size(); ++b)
        if (sums[b] > 0) last_block = b;
    while (block < last_block && left >= sums[block]) left -= sums[block++];

    // Rounding can leave a little at the end of the block: the last possible token takes it.
    const int64_t first = block * softmax_block, count = std::min(softmax_block, V - first);
    int32_t token = 0;
    for (int64_t v = 0; v < count; v += lanes<T>) {
        int n = (int)std::min<int64_t>(lanes<T>, count - v);
        Vec<T> terms = softmax_terms(z + first + v, n, inverse_temperature, largest);
        T here = reduce_add<T>(terms);
        if (!(here > 0)) continue;
        if (left >= here) {
            left -= here;
            for (int i = 0; i < n; ++i)
                if (terms[i] > 0) token = first + v + i;
            continue;
        }
        for (int i = 0; i < n; ++i) {
            if (!(terms[i] > 0)) continue;
            token = first + v + i;
            if (left < terms[i]) break;
            left -= terms[i];
        }
        break;
    }
    return token;
}

// Cuts a row to top-k, then top-p, then min-p. Tokens are ordered by logit, the lower id first among
// equals. A histogram of the row finds the bin in which a cut falls; only that bin's tokens are sorted.
template <class T> struct Cutter {
    static constexpr int bins = 1024;
    struct Bin {
        double mass, count;
    };

    T *z, inverse_temperature, largest;
    int64_t V;
    T bins_per_nat;
    Bin bin[bins];
    std::vector<uint16_t> bin_of;               // (V)
    std::vector<std::pair<T, int32_t>> members; // of one bin in order: logit, id
    std::vector<T> mass;                        // of the members
    int64_t stay;                               // this many of the members
    T last;                                     // the logit of the last of them

    // Bins share the span between the largest and the smallest, but at most 64 nats: what lies below
    // weighs nothing and is the last bin's.
    void fill_bins() {
        Vec<T> least = broadcast(largest);
        for_vectors<T>(V, [&](int64_t v, int n) {
            Vec<T> t = load<T>(z + v, n, INFINITY) * inverse_temperature;
            Mask<T> nearer = (t < least) & (t > broadcast(largest - 64));
            least = nearer ? t : least;
        });
        bins_per_nat = (bins - 1) / (largest - -reduce_max<T>(-least));
        std::memset(bin, 0, sizeof bin);
        bin_of.resize(V);
        for_vectors<T>(V, [&](int64_t v, int n) {
            Vec<T> terms = softmax_terms(z + v, n, inverse_temperature, largest);
            Vec<T> below = (largest - load(z + v, n) * inverse_temperature) * bins_per_nat;
            below = below < T(bins - 1) ? below : broadcast(T(bins - 1));
            Mask<T> b = __builtin_convertvector(max(below, Vec<T>{}), Mask<T>);
            for (int i = 0; i < n; ++i) {
                bin_of[v + i] = (uint16_t)b[i];
                bin[b[i]].mass += terms[i];
                bin[b[i]].count += 1;
            }
        });
    }

    void sort_bin(int b) {
        members.clear();
        for (int64_t v = 0; v < V; ++v)
            if (bin_of[v] == b) members.emplace_back(z[v], (int32_t)v);
        std::sort(members.begin(), members.end(), [](const auto& x, const auto& y) {
            return x.first > y.first || (x.first == y.first && x.second < y.second);
        });
        mass.resize(members.size());
        for (size_t i = 0; i < members.size(); ++i) mass[i] = members[i].first;
        for_vectors<T>(mass.size(), [&](int64_t i, int n) {
            store(&mass[i], softmax_terms(&mass[i], n, inverse_temperature, largest), n);
        });
    }
    void end_at(int64_t member) { stay = member + 1, last = members[member].first; }

    void cut(const SampleOptions& options) {
        members.clear();
        stay = 0, last = -INFINITY;
        if ((options.top_k > 0 && options.top_k < V) || options.top_p < 1) find_last(options);
        // The largest term is 1, so min-p compares with the terms.
        const T least = options.min_p;
        for_vectors<T>(V, [&](int64_t v, int n) {
            Vec<T> x = load(z + v, n);
            Vec<T> terms = softmax_terms(z + v, n, inverse_temperature, largest);
            Mask<T> out = (x < last) | (terms < least);
            store(z + v, out ? broadcast<T>(-INFINITY) : x, n);
        });
        for (int64_t i = stay; i < (int64_t)members.size(); ++i) z[members[i].second] = -INFINITY;
    }

    void find_last(const SampleOptions& options) {
        fill_bins();
        // The k largest: `left` of the bin in which the count passes k.
        int64_t left = options.top_k > 0 && options.top_k < V ? options.top_k : V;
        const bool top_k = left < V;
        double total = 0;
        int end_bin = 0;
        for (; left > bin[end_bin].count; ++end_bin) {
            left -= (int64_t)bin[end_bin].count;
            total += bin[end_bin].mass;
        }
        if (top_k) {
            sort_bin(end_bin);
            end_at(left - 1);
            for (int64_t i = 0; i < left; ++i) total += mass[i];
        } else
            total += bin[end_bin].mass;

        // A token stays while the mass before it is below top_p of the total: the one that crosses, too.
        if (options.top_p < 1) {
            const double wanted = options.top_p * total;
            double before = 0;
            int b = 0;
            while (b < end_bin && before + bin[b].mass < wanted) before += bin[b++].mass;
            if (b < end_bin || !top_k) sort_bin(b);
            int64_t i = 0;
            const int64_t last_member = b == end_bin ? left - 1 : (int64_t)members.size() - 1;
            for (; i < last_member; ++i) {
                before += mass[i];
                if (before >= wanted) break;
            }
            end_at(i);
        }
    }
};

template <class T>
static void sample(Tensor token, Tensor logp, Tensor entropy, Tensor logits, Tensor uniform,
                   Tensor barred, Tensor bar, const SampleOptions& options) {
    const char* op = "sample";
    int64_t B = logits.shape[0], V = logits.shape[1];
    int32_t* token_b = arg<int32_t>(op, "token", token, {B});
    T* logp_b = arg<T>(op, "logp", logp, {B});
    T* entropy_b = optional_arg<T>(op, "entropy", entropy, {B});
    T* z = arg<T>(op, "logits", logits, {B, V});
    const T* uniform_b = arg<T>(op, "uniform", uniform, {B});
    const int32_t* bar_b = optional_arg<int32_t>(op, "bar", bar, {B});
    const int32_t* ids = optional_arg<int32_t>(op, "barred", barred, {barred.size()});
    CHECK(!bar_b == !ids, "%s: barred and bar go together", op);
    CHECK(options.temperature >= 0, "%s: the temperature must be at least 0, not %g", op,
          options.temperature);
    const int64_t E = ids ? barred.size() : 0;
    const bool greedy = options.temperature == 0;
    const bool cuts =
        (options.top_k > 0 && options.top_k < V) || options.top_p < 1 || options.min_p > 0;
    const T inverse = greedy ? 1 : 1 / options.temperature;
    each_row(B, B * V > 1 << 14, [&](int64_t b) {
        T* zb = z + b * V;
        RowSoftmax<T> row = row_softmax(zb, V, inverse, entropy_b != nullptr);
        if (entropy_b) entropy_b[b] = row.entropy();
        // A barred token keeps its logit for its share of the distribution, but cannot be drawn.
        const bool bars = bar_b && bar_b[b] == 1;
        T largest = row.largest;
        if (bars) {
            for (int64_t i = 0; i < E; ++i) zb[ids[i]] = -INFINITY;
            largest = row_max(zb, V) * inverse;
        }
        int32_t drawn = 0;
        if (greedy) {
            T most = row_max(zb, V);
            while (drawn < V - 1 && zb[drawn] != most) ++drawn;
        } else {
            // a row of NaNs has no order; its logp shows them
            if (cuts && std::isfinite(row.sum) && std::isfinite(largest)) {
                thread_local Cutter<T> cutter;
                cutter.z = zb, cutter.V = V;
                cutter.inverse_temperature = inverse, cutter.largest = largest;
                cutter.cut(options);
            }
            drawn = draw(zb, V, inverse, largest, uniform_b[b]);
        }
        token_b[b] = drawn;
        logp_b[b] = row.logp(zb[drawn] * inverse);
    });
}

template <class T> void install_sample(Ops& ops) { ops.sample = sample<T>; }
template void install_sample<float>(Ops&);
template void install_sample<double>(Ops&);

} // namespace cpu
