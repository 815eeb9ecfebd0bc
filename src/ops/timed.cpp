#include "ops/timed.h"

#include <chrono>

namespace {

// A function pointer carries no state, so what the timed entries share is here.
Ops inner;
TimedParts parts;

using Clock = std::chrono::steady_clock;

template <auto member, double TimedParts::*part> struct Timed;

// An entry of the table: member is its place in Ops, part the sum its time goes to.
template <class... A, void (*Ops::*member)(A...), double TimedParts::*part>
struct Timed<member, part> {
    static void call(A... arguments) {
        const Clock::time_point start = Clock::now();
        (inner.*member)(arguments...);
        if (inner.wait) inner.wait(); // an op that is only launched would count nothing
        parts.*part += std::chrono::duration<double>(Clock::now() - start).count();
    }
};

template <auto member, double TimedParts::*part> void time_entry(Ops& table) {
    table.*member = Timed<member, part>::call;
}

} // namespace

const Ops& timed_ops(const Ops& ops) {
    static Ops table;
    inner = ops;
    table = ops;                 // alloc, free, wait and packed_bytes stay as they are
    table.graph_begin = nullptr; // a recorded step would be one launch, and nothing to time in it
    using P = TimedParts;
    time_entry<&Ops::upload, &P::memory>(table);
    time_entry<&Ops::download, &P::memory>(table);
    time_entry<&Ops::fill_zero, &P::memory>(table);
    time_entry<&Ops::copy, &P::memory>(table);
    time_entry<&Ops::embedding_forward, &P::memory>(table);
    time_entry<&Ops::embedding_backward, &P::memory>(table);
    time_entry<&Ops::gather_rows, &P::memory>(table);
    time_entry<&Ops::scatter_rows, &P::memory>(table);
    time_entry<&Ops::kv_copy, &P::memory>(table);

    time_entry<&Ops::linear_forward, &P::gemm>(table);
    time_entry<&Ops::linear_backward, &P::gemm>(table);
    time_entry<&Ops::refresh_weight, &P::gemm>(table);

    time_entry<&Ops::rmsnorm_forward, &P::norm>(table);
    time_entry<&Ops::rmsnorm_backward, &P::norm>(table);
    time_entry<&Ops::residual_rmsnorm_forward, &P::norm>(table);
    time_entry<&Ops::residual_forward, &P::norm>(table);
    time_entry<&Ops::add, &P::norm>(table);
    time_entry<&Ops::head_norm_forward, &P::norm>(table);
    time_entry<&Ops::head_norm_backward, &P::norm>(table);

    time_entry<&Ops::rope_forward, &P::rope>(table);
    time_entry<&Ops::rope_backward, &P::rope>(table);

    time_entry<&Ops::attention_forward, &P::attention>(table);
    time_entry<&Ops::attention_backward, &P::attention>(table);
    time_entry<&Ops::decode_attention, &P::attention>(table);
    time_entry<&Ops::kv_write, &P::attention>(table);

    time_entry<&Ops::swiglu_forward, &P::feed_forward>(table);
    time_entry<&Ops::swiglu_backward, &P::feed_forward>(table);

    time_entry<&Ops::token_logprob_forward, &P::head>(table);
    time_entry<&Ops::token_logprob_backward, &P::head>(table);
    time_entry<&Ops::sample, &P::head>(table);

    time_entry<&Ops::adamw, &P::optimiser>(table);
    time_entry<&Ops::sumsq, &P::optimiser>(table);
    return table;
}

void reset_timed_parts() { parts = {}; }
TimedParts timed_parts() { return parts; }
