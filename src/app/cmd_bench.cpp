// rlhf bench train|generate|rl|ops model.path=DIR: how fast, and how near to what the machine can do.
//
// Work of one training step over N fed tokens of which R are targets, multiply and add counted as two:
//   FLOP = 3 (2 N P + 2 R V C + 4 L H D A)       forward, and twice that in backward
//   P = L (C (H+2K) D + H D C + 3 C F)           weights of the layers' matrices
//   A = sum over sequences of T (T+1) / 2        pairs of a query and a key it sees
// Generation does a third of it: every token is fed once, forward only. Recomputation is not counted as work.
// The GEMM peak is measured here and now: the model's own matrices through the same linear op, each shape
// weighted as often as the step uses it. MFU is the share of a data sheet's peak. Memory is measured by a copy.
//
// With bench.card=H100 nothing is computed: the same commands go through ops that only count their work, and
// every second printed is the least that the card's data sheet allows, as if each op reached its limit.
// Otherwise rates are those of undisturbed runs; the table of ops is made by one more.

#include "app/bench/bench.h"
#include "app/commands.h"
#include "app/rl_learner.h"
#include "base/rng.h"
#include "model/hf.h"
#include "rl/advantage.h"
#include "rl/select.h"
#include "rollout/generate.h"
#include "train/sft_loss.h"

#include <algorithm>
#include <cmath>

namespace {

int bench_train(const BenchConfig& config) {
    const Machine machine = find_machine(config);
    auto model = open_model(config, machine, false);
    const ModelConfig& m = model->config;
    const int B = config.bench.batch, repeats = config.bench.repeats;
    const auto sequences = make_sequences(config, *model, (size_t)B * (repeats + 2));
    Trainer trainer(*model, config.train.tokens_per_micro_batch, B);

    std::vector<double> seconds, token_rates,
        flop_rates; // medians of these: steps differ in length
    Work all;
    int64_t micro_batches = 0, tokens = 0;
    const TimedRun timed = measure(*model, machine, repeats, [&](int r) {
        std::vector<TrainSequence> step(sequences.begin() + (size_t)r * B,
                                        sequences.begin() + (size_t)(r + 1) * B);
        double start = machine.clock();
        StepStats stats = accumulate_gradients(trainer, step, sft_loss(step));
        apply_update(trainer, OptimConfig(), 0, stats); // rate 0: the weights stay
        double elapsed = machine.clock() - start;
        if (r == 0 || r > repeats) return;
        Work work;
        for (const TrainSequence& sequence : step)
            if (!sequence.target.empty()) // tokens behind the last target are not fed
                work.add(sequence.target.back(), (double)sequence.target.size());
        all.N += work.N, all.R += work.R, all.A += work.A;
        seconds.push_back(elapsed);
        token_rates.push_back((double)stats.tokens / elapsed);
        flop_rates.push_back(3 * forward_flop(m, work) / elapsed);
        tokens += stats.tokens, micro_batches += stats.micro_batches;
    });

    const int64_t rows = std::max<int64_t>(1, std::llround(all.N / (double)micro_batches));
    const int64_t targets = std::max<int64_t>(1, std::llround(all.R / (double)micro_batches));
    double peak = gemm_peak(*model, machine, rows, std::min<int64_t>(targets, trainer.pass.chunk),
                            all.R / all.N, true);
    Json report = describe(config, machine, "train");
    report["tokens_per_step"] = (double)tokens / repeats;
    report["targets_per_step"] = all.R / repeats;
    report["tokens_per_s"] = median(token_rates);
    add_rates(report, machine, median(seconds), median(flop_rates), peak);
    report["gflop_per_token"] = 3 * forward_flop(m, all) / (double)tokens * 1e-9;
    add_ops(report, machine, timed);
    print_report(
        config, report,
        format(
            "FLOP/step = 3 (2 N P + 2 R V C + 4 L H D A): N = %.0f fed tokens, R = %.0f targets, "
            "P = %.0f,\nV = %d, C = %d, L = %d, H = %d, D = %d, A = sum T (T+1) / 2 = %.0f",
            all.N / repeats, all.R / repeats, m.L * layer_weights(m), m.V, m.C, m.L, m.H, m.D,
            all.A / repeats));
    return 0;
}

int bench_generate(const BenchConfig& config) {
    const Machine machine = find_machine(config);
    auto model = open_model(config, machine, true);
    const ModelConfig& m = model->config;
    const int B = config.bench.batch, repeats = config.bench.repeats;
    std::vector<std::vector<int32_t>> prompts;
    for (const TrainSequence& sequence : make_sequences(config, *model, B)) {
        size_t length = sequence.target.empty() ? sequence.ids.size() : sequence.target[0];
        prompts.emplace_back(sequence.ids.begin(), sequence.ids.begin() + length);
    }
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
    // What a step of decoding must read: the matrices once, and keys and values of every sequence.
    const Weight& head = model->params.lm_head;
    const Tensor form = head.packed ? head.packed : head.copy ? head.copy : head.w; // that it reads
    const double weight_bytes = (double)form.bytes() / (double)head.w.size();
    const double matrices = (m.L * layer_weights(m) + (double)m.V * m.C) * weight_bytes;
    const double prompt_tokens = (work.N - B * decode_steps) / B;
    const double cached = B * (prompt_tokens + (decode_steps + 1) / 2);
    const double step_bytes =
        matrices + 2.0 * m.L * m.K * m.D * cached * (double)dtype_bytes(machine.compute.dtype);
    const double decode_rate = step_bytes * decode_steps / median(decode);

    Json report = describe(config, machine, "generate");
    report["prompt_tokens"] = prompt_tokens;
    report["new_tokens"] = config.bench.new_tokens;
    report["tokens_per_s"] = median(rates);
    report["prefill_tokens_per_s"] = B * prompt_tokens / median(prefill);
    report["decode_tokens_per_s"] = B * decode_steps / median(decode);
    report["decode_step_seconds"] = median(decode) / decode_steps;
    report["decode_step_gb"] = step_bytes * 1e-9;
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
               weight_bytes, cached));
    return 0;
}

// A GRPO step on random rewards: `batch` completions in groups draw new_tokens tokens each (EOS is barred), and
// one optimiser step trains on all of them. Prompts of a group are computed once, in both.
int bench_rl(const BenchConfig& config) {
    const int G = config.bench.group, P = config.bench.batch / G, repeats = config.bench.repeats;
    CHECK(
        P * G == config.bench.batch,
        "bench.batch=%d is not a multiple of bench.group=%d: a step is whole groups of completions",
        config.bench.batch, G);
    const Machine machine = find_machine(config);
    auto model = open_model(config, machine, true);
    const ModelConfig& m = model->config;
    Trainer trainer(*model, config.train.tokens_per_micro_batch, config.bench.batch + P);
    SampleConfig sample;
    sample.n = G, sample.batch = config.bench.batch;
    sample.max_new_tokens = sample.min_new_tokens = config.bench.new_tokens;
    const AlgoConfig algo = preset_algorithm("grpo");
    std::vector<std::vector<int32_t>> prompts;
    for (const TrainSequence& sequence : make_sequences(config, *model, (size_t)P)) {
        size_t length = sequence.target.empty() ? sequence.ids.size() : sequence.target[0];
        prompts.emplace_back(sequence.ids.begin(), sequence.ids.begin() + length);
    }
    Work drawn, trained; // of one step
    for (const auto& prompt : prompts) {
        const double T = (double)prompt.size(), n = config.bench.new_tokens;
        drawn.add(T, 1); // the prompt once, then each sample's tokens; the last one is not fed
        trained.add(T - 1, 0);
        for (int g = 0; g < G; ++g) {
            drawn.N += n - 1, drawn.R += n, drawn.A += (n - 1) * (T + n / 2);
            trained.N += n, trained.R += n, trained.A += n * (T - 1 + (n + 1) / 2);
        }
    }

    Rng rng(1);
    std::vector<double> seconds, decode, train;
    bool recorded = false; // training has no forward pass of its own
    const TimedRun timed = measure(*model, machine, repeats, [&](int r) {
        const double start = machine.clock();
        Recording recording(trainer.pass, config.train.tokens_per_micro_batch);
        Rollouts rollouts;
        RolloutTexts texts{prompts, {}};
        for (Completion& completion :
             generate(*model, prompts, sample, (uint32_t)r, nullptr, {}, &recording)) {
            add_completion(rollouts, texts.completion, std::move(completion));
            rollouts.reward.push_back(rng.below(2));
        }
        const double generated = machine.clock();
        const Advantages A = advantages(rollouts, algo);
        const Selection kept = select(rollouts, A, algo, SelectConfig(), r);
        UpdateSettings settings;
        settings.recording = &recording;
        recorded = recording.holds();
        update_policy(trainer, rollouts, texts, kept, algo, settings);
        const double end = machine.clock();
        if (r == 0 || r > repeats) return;
        seconds.push_back(end - start);
        decode.push_back(generated - start), train.push_back(end - generated);
    });

    const double flop = forward_flop(m, drawn) + (recorded ? 2 : 3) * forward_flop(m, trained);
    const double step = median(seconds);
    const int64_t rows = std::max<int64_t>(
        1, std::llround(std::min(trained.N, (double)config.train.tokens_per_micro_batch)));
    const double peak =
        gemm_peak(*model, machine, rows, std::min<int64_t>(rows, trainer.pass.chunk),
                  trained.R / trained.N, true);
    Json report = describe(config, machine, "rl");
    report["group"] = G;
    report["new_tokens"] = config.bench.new_tokens;
    report["recorded"] = recorded;
    report["tokens_per_s"] = (double)config.bench.batch * config.bench.new_tokens / step;
    report["generate_seconds"] = median(decode);
    report["train_seconds"] = median(train);
    add_rates(report, machine, step, flop / step, peak);
    add_ops(report, machine, timed);
    print_report(
        config, report,
        format("FLOP/step = (2 N P + 2 R V C + 4 L H D A) drawing, N = %.0f, R = %.0f, A = "
               "%.0f,\nand %d (...) training, N = %.0f, R = %.0f, A = %.0f; P = %.0f, V = %d, "
               "C = %d, L = %d, H = %d, D = %d;\ntokens_per_s counts new tokens; the GEMM "
               "peak is that of training",
               drawn.N, drawn.R, drawn.A, recorded ? 2 : 3, trained.N, trained.R, trained.A,
               m.L * layer_weights(m), m.V, m.C, m.L, m.H, m.D));
    return 0;
}

} // namespace

static int cmd_bench(const Args& args) {
    Args rest = args;
    rest.config_path.clear();
    BenchConfig config;
    load_config(config, rest);
    CHECK(!config.model.path.empty(), "bench needs a model: model.path=DIR");
    if (args.config_path == "train") return bench_train(config);
    if (args.config_path == "generate") return bench_generate(config);
    if (args.config_path == "rl") return bench_rl(config);
    if (args.config_path == "ops") return bench_ops(config);
    fail("rlhf bench needs to know what: train, generate, rl or ops, found \"%s\"",
         args.config_path.c_str());
}

static void bench_fields(Fields& fields) {
    static BenchConfig config;
    config.visit(fields);
}

extern const Command bench_command;
const Command bench_command = {"bench",
                               "bench train|generate|rl|ops: rates, shares of the peaks, op by op",
                               cmd_bench, bench_fields};
