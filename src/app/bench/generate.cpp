// rlhf bench generate: prompts, and new tokens behind them, with the paged cache.

#include "rollout/generate.h"
#include "app/bench/bench.h"

namespace {
// What a step of decoding must read: the matrices once, and keys and values of every sequence.
struct StepReads {
    double weight_bytes; // of one weight, in the form that is read
    double cached;       // tokens
    double matrices, kv; // bytes
    double bytes() const { return matrices + kv; }
};
} // namespace

static StepReads decode_step(const Model& model, double cached) {
    const ModelConfig& m = model.config;
    const Weight& head = model.params.lm_head;
    const Tensor form = head.packed ? head.packed : head.copy ? head.copy : head.w;
    StepReads step;
    step.weight_bytes = (double)form.bytes() / (double)head.w.size();
    step.cached = cached;
    step.matrices = (m.L * layer_weights(m) + (double)m.V * m.C) * step.weight_bytes;
    step.kv = 2.0 * m.L * m.K * m.D * cached * (double)dtype_bytes(model.compute.dtype);
    return step;
}

int bench_generate(const BenchConfig& config) {
    const Machine machine = find_machine(config);
    auto model = open_model(config, machine, true);
    const ModelConfig& m = model->config;
    const int B = config.bench.batch, repeats = config.bench.repeats;
    const auto prompts = make_prompts(config, *model, B);
    SampleConfig sample;
    sample.batch = B;
    sample.max_new_tokens = sample.min_new_tokens = config.bench.new_tokens;

    // Every sequence gets new_tokens tokens (EOS is barred); the first of them comes from the prompt's
    // own pass, so that decoding is new_tokens - 1 steps.
    Work work;
    const double decode_steps = config.bench.new_tokens - 1;
    for (const auto& prompt : prompts) {
        work.add((double)prompt.size() + decode_steps, config.bench.new_tokens);
    }
    std::vector<double> seconds, prefill, decode, rates;
    const TimedRun timed = measure(*model, machine, repeats, [&](int r) {
        GenerateStats stats;
        double start = machine.clock();
        generate(*model, prompts, sample, (uint32_t)r, &stats);
        double elapsed = machine.clock() - start;
        if (r == 0 || r > repeats) return;
        seconds.push_back(elapsed);
        rates.push_back((double)stats.new_tokens / elapsed);
        prefill.push_back(stats.prefill_seconds), decode.push_back(stats.decode_seconds);
    });
    if (machine.computed) { // its clock is not generate's: the prompts are a run of the first token
        sample.max_new_tokens = sample.min_new_tokens = 1;
        const TimedRun first =
            measure(*model, machine, 0, [&](int) { generate(*model, prompts, sample); });
        prefill = {first.seconds}, decode = {median(seconds) - first.seconds};
    }
    const double prompt_tokens = (work.N - B * decode_steps) / B;
    const StepReads step = decode_step(*model, B * (prompt_tokens + (decode_steps + 1) / 2));
    const double decode_rate = step.bytes() * decode_steps / median(decode);

    Json report = describe(config, machine, "generate");
    report["prompt_tokens"] = prompt_tokens;
    report["new_tokens"] = config.bench.new_tokens;
    report["tokens_per_s"] = median(rates);
    report["prefill_tokens_per_s"] = B * prompt_tokens / median(prefill);
    report["decode_tokens_per_s"] = B * decode_steps / median(decode);
    report["decode_step_seconds"] = median(decode) / decode_steps;
    report["decode_step_gb"] = step.bytes() * 1e-9;
    report["decode_gb_per_s"] = decode_rate * 1e-9;
    report["decode_memory_share"] = decode_rate / machine.limits.bytes_per_s;
    add_rates(report, machine, median(seconds), forward_flop(m, work) / median(seconds),
              gemm_peak(*model, machine, B, B, 1, false));
    report["gflop_per_token"] = forward_flop(m, work) / (B * config.bench.new_tokens) * 1e-9;
    add_ops(report, machine, timed);
    print_report(
        config, report,
        format("FLOP/run = 2 N P + 2 R V C + 4 L H D A: N = %.0f fed tokens, R = %.0f new "
               "ones, P = %.0f,\nV = %d, C = %d, L = %d, H = %d, D = %d, A = sum T (T+1) / "
               "2 = %.0f; the GEMM peak is that of %d rows, as in decoding;\ndecode_step_gb = P "
               "and V C in %.0f bytes each, and 2 L K D of keys and values for %.0f cached tokens",
               work.N, work.R, m.L * layer_weights(m), m.V, m.C, m.L, m.H, m.D, work.A, B,
               step.weight_bytes, step.cached));
    return 0;
}
