#include "ops/timed.h"

#include "base/clock.h"

#include <algorithm>
#include <mutex>
#include <omp.h>

namespace {

// ---- what a call has to do ----------------------------------------------------------------------

Ops inner; // a function pointer carries no state, so what the timed entries share is here
Limits limits;

struct Work {
    double flop = 0, bytes = 0;
};

double bytes(Tensor x) { return x ? (double)x.bytes() : 0; }
// A gradient that is added to is read, too.
double bytes(const Gradient& g) { return (g.add ? 2 : 1) * bytes(g.to); }
template <class A, class B, class... T> double bytes(const A& a, const B& b, const T&... more) {
    return bytes(a) + bytes(b, more...);
}

// The form that forward reads.
double weight_bytes(const Weight& w) {
    return w.packed ? bytes(w.packed) : w.copy ? bytes(w.copy) : bytes(w.w);
}

std::vector<int> on_host(Tensor x) {
    std::vector<int> values(x.size());
    inner.download(values.data(), x);
    return values;
}

// A: pairs of a query and a key that it sees, over the batch.
double query_key_pairs(const Ragged& ragged) {
    const std::vector<int> begin = on_host(ragged.begin.rows(0, ragged.sequences + 1));
    std::vector<int> parent, prefix;
    if (ragged.parent) parent = on_host(ragged.parent.rows(0, ragged.sequences));
    if (ragged.prefix) prefix = on_host(ragged.prefix.rows(0, ragged.sequences));
    double pairs = 0;
    for (int s = 0; s < ragged.sequences; ++s) {
        const double rows = begin[s + 1] - begin[s];
        const int p = parent.empty() ? -1 : parent[s];
        const double before = p < 0 ? 0 : begin[p + 1] - begin[p];
        const double both_ways = prefix.empty() ? 0 : std::max(0.0, prefix[s] - before);
        pairs += rows * before + rows * (rows + 1) / 2 + both_ways * (both_ways - 1) / 2;
    }
    return pairs;
}

// One function per op, with its arguments.

Work of_upload(Tensor device, const void*) { return {0, bytes(device)}; }
Work of_download(void*, Tensor device) { return {0, bytes(device)}; }
Work of_fill_zero(Tensor x) { return {0, bytes(x)}; }
Work of_copy(Tensor y, Tensor x) { return {0, bytes(y, x)}; }
Work of_embedding_forward(Tensor y, Tensor, Tensor ids) { return {0, 2 * bytes(y) + bytes(ids)}; }
Work of_embedding_backward(Tensor dw, Tensor dy, Tensor ids) {
    return {0, bytes(dy, ids) + 2.0 * (double)dy.size() * (double)dtype_bytes(dw.dtype)};
}
Work of_gather_rows(Tensor y, Tensor, Tensor rows) { return {0, 2 * bytes(y) + bytes(rows)}; }
Work of_scatter_rows(Tensor, Tensor dy, Tensor rows) { return {0, 3 * bytes(dy) + bytes(rows)}; }
Work of_compact_rows(Tensor x, Tensor rows) {
    return {0, 2 * bytes(x.rows(0, rows.size())) + bytes(rows)};
}

Work of_linear_forward(Tensor y, Tensor x, const Weight& w, Tensor bias) {
    return {2 * (double)x.shape[0] * (double)w.w.size(), bytes(y, x, bias) + weight_bytes(w)};
}
// Two products, each of which reads its own factors.
Work of_linear_backward(Gradient dx, Gradient dw, Gradient dbias, Tensor dy, Tensor x,
                        const Weight& w) {
    const double product = 2 * (double)x.shape[0] * (double)w.w.size();
    Work work;
    if (dx) work.flop += product, work.bytes += bytes(dy, dx, w.w);
    if (dw) work.flop += product, work.bytes += bytes(dy, x, dw);
    if (dbias) work.bytes += bytes(dbias);
    return work;
}
Work of_refresh_weight(const Weight& w) { return {0, bytes(w.w, w.copy, w.packed)}; }

Work of_rmsnorm_forward(Tensor y, Tensor s, Tensor x, Tensor w, double) {
    return {0, bytes(y, s, x, w)};
}
Work of_rmsnorm_backward(Gradient dx, Gradient dw, Tensor s, Tensor dy, Tensor x, Tensor w) {
    return {0, bytes(dx, dw, s, dy, x, w)};
}
Work of_residual_rmsnorm_forward(Tensor z, Tensor y, Tensor s, Tensor x, Tensor delta, Tensor w,
                                 double) {
    return {0, bytes(z, y, s, x, delta, w)};
}
Work of_residual_forward(Tensor z, Tensor x, Tensor delta) { return {0, bytes(z, x, delta)}; }
Work of_add(Tensor dx, Tensor dy) { return {0, 2 * bytes(dx) + bytes(dy)}; }
Work of_head_norm_forward(Tensor y, Tensor s, Tensor x, Tensor wq, Tensor wk, int, int, double) {
    return {0, bytes(y, s, x, wq, wk)};
}
Work of_head_norm_backward(Gradient dx, Gradient dwq, Gradient dwk, Tensor s, Tensor dy, Tensor x,
                           Tensor wq, Tensor wk, int, int) {
    return {0, bytes(dx, dwq, dwk, s, dy, x, wq, wk)};
}
// In place, queries and keys alone; a row of the table per token.
Work of_rope(Tensor qkv, Tensor position, Tensor table, int H, int K) {
    const double part = (double)(H + K) / (H + 2 * K), rows = (double)qkv.shape[0];
    return {0, 2 * part * bytes(qkv) + bytes(position) +
                   rows * (double)table.shape[1] * (double)dtype_bytes(table.dtype)};
}

Work of_attention_forward(Tensor y, Tensor lse, Tensor qkv, const Ragged& ragged, int, int,
                          double) {
    return {4 * query_key_pairs(ragged) * (double)y.shape[1], bytes(y, lse, qkv)};
}
// Five products where forward has two: the scores again, dP, dV, dQ and dK.
Work of_attention_backward(Gradient dqkv, Tensor dy, Tensor y, Tensor lse, Tensor qkv,
                           const Ragged& ragged, int, int, double) {
    return {10 * query_key_pairs(ragged) * (double)y.shape[1], bytes(dqkv, dy, y, lse, qkv)};
}
Work of_kv_write(KvCache&, Tensor qkv, Tensor slot, int H, int K) {
    return {0, 2 * bytes(qkv) * (2.0 * K / (H + 2 * K)) + bytes(slot)};
}
Work of_rope_write(KvCache&, Tensor qkv, Tensor position, Tensor table, Tensor slot, int, int) {
    const double rows = (double)qkv.shape[0];
    return {0, 2 * bytes(qkv) + bytes(position, slot) +
                   rows * (double)table.shape[1] * (double)dtype_bytes(table.dtype)};
}
Work of_kv_copy(KvCache& cache, Tensor, Tensor, int count) {
    return {0, 2 * bytes(cache.k, cache.v) / (double)cache.k.shape[0] * count};
}
Work of_decode_attention(Tensor y, Tensor lse, Tensor qkv, const KvCache& cache, Tensor,
                         Tensor length, int, int K, double) {
    double keys = 0;
    for (int n : on_host(length)) keys += n;
    const double row = (double)(K * cache.k.shape[3]) * (double)dtype_bytes(cache.k.dtype);
    return {4 * keys * (double)y.shape[1], 2 * keys * row + bytes(y, lse, qkv)};
}

Work of_swiglu_forward(Tensor y, Tensor gate_up) { return {0, bytes(y, gate_up)}; }
Work of_swiglu_backward(Gradient dgate_up, Tensor dy, Tensor gate_up) {
    return {0, bytes(dgate_up, dy, gate_up)};
}

Work of_norm_linear(Tensor y, Tensor x, Tensor norm, const Weight& w, double) {
    return {2 * (double)x.shape[0] * (double)w.w.size(), bytes(y, x, norm) + weight_bytes(w)};
}
Work of_norm_qkv(Tensor qkv, KvCache&, Tensor x, Tensor norm, const Weight& w, Tensor bias, Tensor,
                 Tensor, Tensor, int, int, double) {
    return {2 * (double)x.shape[0] * (double)w.w.size(),
            bytes(qkv, x, norm, bias) + weight_bytes(w)};
}
Work of_norm_swiglu(Tensor y, Tensor x, Tensor norm, const Weight& w, double eps) {
    return of_norm_linear(y, x, norm, w, eps);
}
Work of_linear_residual(Tensor z, Tensor x, Tensor y, const Weight& w) {
    return {2 * (double)y.shape[0] * (double)w.w.size(), bytes(z, x, y) + weight_bytes(w)};
}

Work of_token_logprob_forward(Tensor, Tensor, Tensor, Tensor logits, Tensor, double) {
    return {0, bytes(logits)};
}
Work of_token_logprob_backward(Tensor logits, Tensor, Tensor, Tensor, Tensor, Tensor, double) {
    return {0, 2 * bytes(logits)};
}
Work of_sample(Tensor, Tensor, Tensor, Tensor logits, Tensor, Tensor, Tensor,
               const SampleOptions&) {
    return {0, bytes(logits)};
}

Work of_adamw(Tensor p, Tensor rounded, Tensor m, Tensor v, Tensor g, double, double, double,
              double, double, double, int64_t) {
    return {0, 2 * bytes(p, m, v) + bytes(g, rounded)};
}
Work of_sumsq(Tensor, Tensor x) { return {0, bytes(x)}; }

// ---- the table ----------------------------------------------------------------------------------

std::vector<OpRecord> records; // one per entry, in the order of add_entries

// Threads may call ops side by side: each call then counts for its part of the time.
std::mutex recording;

// Calls that were launched and whose time is not known yet.
struct Launched {
    size_t record;
    void *from, *to;
};
std::vector<Launched> launched;

void add_launched_times() {
    for (const Launched& call : launched)
        records[call.record].seconds += inner.seconds_between(call.from, call.to);
    launched.clear();
}

template <auto member, auto work> struct Timed;

// An entry of the table: member is its place in Ops, work what a call has to do.
template <class... A, void (*Ops::*member)(A...), auto work> struct Timed<member, work> {
    static inline size_t record;
    static void call(A... arguments) {
        const Work needed = work(arguments...);
        void* const from = inner.mark ? inner.mark() : nullptr;
        const double start = now();
        (inner.*member)(arguments...);
        const double seconds = (now() - start) / omp_get_num_threads();
        const std::lock_guard lock(recording);
        OpRecord& r = records[record];
        if (inner.mark)
            launched.push_back({record, from, inner.mark()}); // nothing waits for it here
        else
            r.seconds += seconds;
        r.calls += 1, r.flop += needed.flop, r.bytes += needed.bytes;
        r.bound += std::max(limits.flop_per_s > 0 ? needed.flop / limits.flop_per_s : 0,
                            limits.bytes_per_s > 0 ? needed.bytes / limits.bytes_per_s : 0);
    }
};

// Calls visit<member, work>(name, part) for every op that has work.
template <class Visit> void for_each_op(Visit visit) {
#define OP(name, part) visit.template operator()<&Ops::name, of_##name>(#name, part)
    OP(upload, "memory"), OP(download, "memory"), OP(fill_zero, "memory"), OP(copy, "memory");
    OP(embedding_forward, "memory"), OP(embedding_backward, "memory");
    OP(gather_rows, "memory"), OP(scatter_rows, "memory"), OP(compact_rows, "memory");
    OP(kv_copy, "memory");
    OP(norm_linear, "gemm"), OP(norm_qkv, "gemm"), OP(norm_swiglu, "gemm");
    OP(linear_residual, "gemm");
    OP(linear_forward, "gemm"), OP(linear_backward, "gemm"), OP(refresh_weight, "gemm");
    OP(rmsnorm_forward, "norm"), OP(rmsnorm_backward, "norm");
    OP(residual_rmsnorm_forward, "norm"), OP(residual_forward, "norm"), OP(add, "norm");
    OP(head_norm_forward, "norm"), OP(head_norm_backward, "norm");
    visit.template operator()<&Ops::rope_forward, of_rope>("rope_forward", "rope");
    visit.template operator()<&Ops::rope_backward, of_rope>("rope_backward", "rope");
    OP(attention_forward, "attention"), OP(attention_backward, "attention");
    OP(rope_write, "rope");
    OP(decode_attention, "attention"), OP(kv_write, "attention");
    OP(swiglu_forward, "swiglu"), OP(swiglu_backward, "swiglu");
    OP(token_logprob_forward, "head"), OP(token_logprob_backward, "head"), OP(sample, "head");
    OP(adamw, "optimiser"), OP(sumsq, "optimiser");
#undef OP
}

} // namespace

const std::vector<const char*> op_parts = {"gemm",      "attention", "norm",   "head",
                                           "optimiser", "rope",      "swiglu", "memory"};

const Ops& timed_ops(const Ops& ops, const Limits& of_machine) {
    static Ops table;
    add_launched_times();
    inner = ops, limits = of_machine;
    table = ops;                 // alloc, free, wait and packed_bytes stay as they are
    table.graph_begin = nullptr; // a recorded step would be one launch, and nothing to time in it
    records.clear();
    for_each_op([]<auto member, auto work>(const char* name, const char* part) {
        Timed<member, work>::record = records.size();
        records.push_back({name, part});
        if (inner.*member) table.*member = Timed<member, work>::call;
    });
    return table;
}

void reset_op_records() {
    add_launched_times();
    for (OpRecord& r : records) r = {r.name, r.part};
}

std::vector<OpRecord> op_records() {
    add_launched_times();
    std::vector<OpRecord> called;
    for (const OpRecord& r : records)
        if (r.calls) called.push_back(r);
    return called;
}

double sum_of(const std::vector<OpRecord>& of, double OpRecord::*member, const std::string& part) {
    double sum = 0;
    for (const OpRecord& r : of)
        if (part.empty() || part == r.part) sum += r.*member;
    return sum;
}
