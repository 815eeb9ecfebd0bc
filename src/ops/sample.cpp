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
// equals. A histogram over t (bins of 1/16 nat below the largest) finds the bin in which a cut falls;
// only the tokens of that bin are sorted.
template <class T> struct Cutter {
    static constexpr int bins = 1024;
    T *z, inverse, largest;
    int64_t V;
    int64_t count[bins];
    double mass[bins];
    std::vector<int32_t> members; // of one bin, in order
    // The last token that stays.
    T last_logit;
    int32_t last_id;

    int bin(T logit) const {
        T below = (largest - logit * inverse) * 16;
        return below < bins - 1 ? (int)below : bins - 1;
    }
    double term(T logit) const { return softmax_terms(&logit, 1, inverse, largest)[0]; }
    void fill() {
        std::fill(count, count + bins, 0);
        std::fill(mass, mass + bins, 0.0);
        for_vectors<T>(V, [&](int64_t v, int n) {
            Vec<T> terms = softmax_terms(z + v, n, inverse, largest);
            for (int i = 0; i < n; ++i) {
                int b = bin(z[v + i]);
                ++count[b];
                mass[b] += terms[i];
            }
        });
    }
    void sort_bin(int b) {
        members.clear();
        for (int64_t v = 0; v < V; ++v)
            if (bin(z[v]) == b) members.push_back((int32_t)v);
        std::sort(members.begin(), members.end(),
                  [&](int32_t i, int32_t j) { return z[i] > z[j] || (z[i] == z[j] && i < j); });
    }
    void end_at(int32_t id) { last_logit = z[id], last_id = id; }

    void cut(const SampleOptions& options) {
        fill();
        double total = 0;
        int64_t left = options.top_k > 0 && options.top_k < V ? options.top_k : V;
        bool ended = left < V;
        int end_bin = 0;
        // The k largest: `left` of the bin in which the count passes k.
        while (left > count[end_bin]) left -= count[end_bin], total += mass[end_bin], ++end_bin;
        int64_t in_end_bin = left;
        if (ended) {
            sort_bin(end_bin);
            for (int64_t i = 0; i < left; ++i) total += term(z[members[i]]);
            end_at(members[left - 1]);
        } else
            total += mass[end_bin];

        // A token stays while the mass before it is below top_p of the total: the one that crosses too.
        if (options.top_p < 1) {
            double wanted = options.top_p * total, before = 0;
            int b = 0;
            while (b < end_bin && before + mass[b] < wanted) before += mass[b++];
            sort_bin(b);
            int64_t size = b == end_bin ? in_end_bin : (int64_t)members.size(), i = 0;
            for (; i < size - 1; ++i) {
                before += term(z[members[i]]);
                if (before >= wanted) break;
            }
            end_at(members[i]);
            ended = true;
        }
        const double least = options.min_p;
        for (int64_t v = 0; v < V; ++v) {
            bool keep = !ended || z[v] > last_logit || (z[v] == last_logit && v <= last_id);
            if (keep && least > 0) keep = term(z[v]) >= least; // the largest term is 1
            if (!keep) z[v] = -INFINITY;
        }
    }
};

template <class T>
static void sample(Tensor token, Tensor logp, Tensor logits, Tensor uniform, Tensor barred,
                   Tensor bar, const SampleOptions& options) {
    const char* op = "sample";
    int64_t B = logits.shape[0], V = logits.shape[1];
    int32_t* token_b = arg<int32_t>(op, "token", token, {B});
    T* logp_b = arg<T>(op, "logp", logp, {B});
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
#pragma omp parallel for schedule(dynamic) if (B * V > 1 << 14)
    for (int64_t b = 0; b < B; ++b) {
        T* zb = z + b * V;
        RowSoftmax<T> row = row_softmax(zb, V, inverse);
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
                cutter.z = zb, cutter.V = V, cutter.inverse = inverse, cutter.largest = largest;
                cutter.cut(options);
            }
            drawn = draw(zb, V, inverse, largest, uniform_b[b]);
        }
        token_b[b] = drawn;
        logp_b[b] = row.logp(zb[drawn] * inverse);
    }
}

template <class T> void install_sample(Ops& ops) { ops.sample = sample<T>; }
template void install_sample<float>(Ops&);
template void install_sample<double>(Ops&);

} // namespace cpu
