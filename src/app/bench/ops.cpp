// rlhf bench ops: the ops that memory bounds, alone and one after another, at the model's shapes over
// N = train.tokens_per_micro_batch tokens. GB/s are the bytes that a call must move (ops/timed.h) by the best
// of bench.repeats measurements, beside those of a large copy. With few tokens arrays stay in a cache and the
// share exceeds 100 %: on a GPU take N so large that N C is well above its 50 MB.

#include "app/bench/bench.h"
#include "base/clock.h"
#include "base/rng.h"

#include <algorithm>
#include <cmath>

namespace {

constexpr int calls = 10; // between two looks at the clock: a launch costs more than a look

struct Case {
    const char* name;
    std::function<void(const Ops&)> call;
};

// Best of `repeats` timings of a call; its flop and bytes are counted by the timed table.
Json measure(const Case& one, const Ops& timed, const Ops& plain, int repeats) {
    auto wait = [&] {
        if (plain.wait) plain.wait();
    };
    reset_op_records();
    one.call(timed);
    const OpRecord work = op_records()[0];
    double best = INFINITY;
    for (int attempt = 0; attempt < repeats; ++attempt) {
        wait();
        const double start = now();
        for (int call = 0; call < calls; ++call) one.call(plain);
        wait();
        best = std::min(best, (now() - start) / calls);
    }
    return {{"calls", 1},
            {"seconds", best},
            {"gflops", work.flop / best * 1e-9},
            {"gb_per_s", work.bytes / best * 1e-9}};
}

// What the calls work on; freed with it.
struct Memory {
    const Ops& ops;
    std::vector<void*> owned;
    ~Memory() {
        for (void* each : owned) ops.free(each);
    }
    Tensor take(DType type, std::initializer_list<int64_t> shape) {
        Tensor tensor(nullptr, type, shape);
        owned.push_back(tensor.data = ops.alloc(tensor.bytes()));
        CHECK(tensor.data, "out of memory; use a smaller train.tokens_per_micro_batch");
        return tensor;
    }
    Tensor list(int64_t count, const std::function<int64_t(int64_t)>& value) {
        std::vector<int32_t> values(count);
        for (int64_t i = 0; i < count; ++i) values[i] = (int32_t)value(i);
        Tensor tensor = take(DType::i32, {count});
        ops.upload(tensor, values.data());
        return tensor;
    }
};

} // namespace

int bench_ops(const BenchConfig& config) {
    CHECK(config.bench.card.empty(), "rlhf bench ops measures; bench.card has nothing to measure");
    const Machine machine = find_machine(config);
    auto model = open_model(config, machine, false);
    const Ops *plain = model->ops, &timed = timed_ops(*plain, machine.limits);
    const ModelConfig& m = model->config;
    const DType dtype = machine.compute.dtype, wide = wide_dtype(dtype);
    const int64_t N = config.train.tokens_per_micro_batch, W = m.qkv_width();
    const int64_t R = std::min<int64_t>(N, std::max(64, (32 << 20) / m.V)); // 128 MiB in f32
    const int64_t P = (int64_t)m.V * m.C; // parameters of the optimiser's piece

    Memory memory{*plain, {}};
    auto take = [&](DType type, std::initializer_list<int64_t> shape) {
        return memory.take(type, shape);
    };
    auto rows = [&](int64_t width) { return take(dtype, {N, width}); };
    auto list = [&](int64_t count, auto value) { return memory.list(count, value); };
    Rng rng(1);
    const Tensor x = rows(m.C), y = rows(m.C), z = rows(m.C), delta = rows(m.C);
    const Tensor s = take(wide, {N}), norm = model->params.norm, dnorm = take(wide, {m.C});
    const Tensor qkv = rows(W), gate_up = rows(2 * m.F), dgate_up = rows(2 * m.F), act = rows(m.F);
    const Tensor ids = list(N, [&](int64_t) { return rng.below(m.V); });
    const Tensor place = list(N, [&](int64_t n) { return n % m.max_positions; });
    const Tensor every = list(N, [](int64_t n) { return n; });
    const Tensor logits = take(dtype, {R, m.V});
    const Tensor target = list(R, [&](int64_t) { return rng.below(m.V); });
    const Tensor logp = take(wide, {R}), lse = take(wide, {R}), dlogp = take(wide, {R});
    const Tensor dembedding = take(wide, {m.V, m.C});
    const Tensor p = take(wide, {P}), mean = take(wide, {P}), square = take(wide, {P});
    const Tensor g = take(wide, {P}), sum = take(DType::f64, {1});
    const Tensor rounded = dtype == DType::bf16 ? take(dtype, {P}) : Tensor();
    // B sequences of prompt_tokens cached tokens each
    const int B = config.bench.batch, length = config.bench.prompt_tokens;
    KvCache cache;
    const int pages_each = (length + cache.page - 1) / cache.page, pages = B * pages_each;
    cache.k = take(dtype, {pages, m.K, cache.page, m.D});
    cache.v = take(dtype, {pages, m.K, cache.page, m.D});
    const Tensor table = list(pages, [](int64_t i) { return i; }).view({B, pages_each});
    const Tensor lengths = list(B, [&](int64_t) { return length; });
    const Tensor slot = list(N, [&](int64_t n) { return n % ((int64_t)pages * cache.page); });
    const Tensor query = take(dtype, {B, W}), answer = take(dtype, {B, (int64_t)m.H * m.D});

    const Case cases[] = {
        {"copy", [&](const Ops& o) { o.copy(y, x); }},
        {"fill_zero", [&](const Ops& o) { o.fill_zero(y); }},
        {"embedding_forward",
         [&](const Ops& o) { o.embedding_forward(y, model->params.embedding.w, ids); }},
        {"embedding_backward", [&](const Ops& o) { o.embedding_backward(dembedding, x, ids); }},
        {"gather_rows", [&](const Ops& o) { o.gather_rows(y, x, every); }},
        {"rmsnorm_forward", [&](const Ops& o) { o.rmsnorm_forward(y, s, x, norm, m.norm_eps); }},
        {"rmsnorm_backward", [&](const Ops& o) { o.rmsnorm_backward(z, dnorm, s, y, x, norm); }},
        {"residual_rmsnorm_forward",
         [&](const Ops& o) { o.residual_rmsnorm_forward(z, y, s, x, delta, norm, m.norm_eps); }},
        {"residual_forward", [&](const Ops& o) { o.residual_forward(z, x, delta); }},
        {"rope_forward",
         [&](const Ops& o) { o.rope_forward(qkv, place, model->rope_table, m.H, m.K); }},
        {"swiglu_forward", [&](const Ops& o) { o.swiglu_forward(act, gate_up); }},
        {"swiglu_backward", [&](const Ops& o) { o.swiglu_backward(dgate_up, act, gate_up); }},
        {"kv_write", [&](const Ops& o) { o.kv_write(cache, qkv, slot, m.H, m.K); }},
        {"decode_attention",
         [&](const Ops& o) {
             o.decode_attention(answer, {}, query, cache, table, lengths, m.H, m.K,
                                attention_scale(m));
         }},
        {"token_logprob_forward",
         [&](const Ops& o) { o.token_logprob_forward(logp, {}, lse, logits, target, 1); }},
        {"token_logprob_backward",
         [&](const Ops& o) { o.token_logprob_backward(logits, dlogp, {}, {}, lse, target, 1); }},
        {"adamw",
         [&](const Ops& o) {
             o.adamw(p, rounded, mean, square, g, 1, 1e-4, 0.9, 0.95, 1e-8, 0, 1);
         }},
        {"sumsq", [&](const Ops& o) { o.sumsq(sum, g); }},
    };
    Json report = describe(config, machine, "ops"), ops;
    report["tokens"] = N;
    for (const Case& one : cases) ops[one.name] = measure(one, timed, *plain, config.bench.repeats);
    report["ops"] = ops;
    print_report(config, report,
                 format("GB/s = bytes that the call must move / best seconds, over %lld tokens, "
                        "%lld rows of logits,\n%lld parameters, %d x %d cached tokens",
                        (long long)N, (long long)R, (long long)P, B, length));
    return 0;
}
