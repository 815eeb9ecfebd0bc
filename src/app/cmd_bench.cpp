// rlhf bench train|generate model.path=DIR: how fast, and how near to what the machine can do.
//
// Work of one training step over N fed tokens of which R are targets, multiply and add counted as two:
//   FLOP = 3 (2 N P + 2 R V C + 4 L H D A)       forward, and twice that in backward
//   P = L (C (H+2K) D + H D C + 3 C F)           weights of the layers' matrices
//   A = sum over sequences of T (T+1) / 2        pairs of a query and a key it sees
// Generation does a third of it: every token is fed once, forward only. Recomputation is not counted as work.
// The GEMM peak is measured here and now: the model's own matrices through the same linear op, each shape
// weighted as often as the step uses it.

#include "app/commands.h"
#include "app/inputs.h"
#include "base/rng.h"
#include "model/hf.h"
#include "ops/timed.h"
#include "rollout/generate.h"
#include "train/sft_loss.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

namespace {

struct BenchSettings {
    int batch = 8, prompt_tokens = 128, new_tokens = 64, repeats = 5;
    void visit(Fields& v) {
        v.field("batch", batch, 1, 1e5, "B: rows of a training step, or sequences in flight");
        v.field("prompt_tokens", prompt_tokens, 1, 1e6, "tokens of a random prompt");
        v.field("new_tokens", new_tokens, 2, 1e6, "tokens trained or drawn behind each prompt");
        v.field("repeats", repeats, 1, 1e4, "measured steps or runs, after one that is not");
    }
};

struct BenchDataSettings {
    std::string train, template_name = "none";
    bool add_eos = true;
    void visit(Fields& v) {
        v.field("train", train, "JSON Lines file of real rows; empty: random tokens");
        v.choice("template", template_name, {"none", "chat"},
                 "chat renders prompt and completion by the model's chat template");
        v.field("add_eos", add_eos, "end a completion string with the end-of-sequence token");
    }
};

struct BenchTrainSettings {
    int tokens_per_micro_batch = 2048;
    void visit(Fields& v) {
        v.field("tokens_per_micro_batch", tokens_per_micro_batch, 1, 1e8,
                "tokens in memory at once");
    }
};

struct BenchConfig {
    ModelSettings model;
    ComputeSettings compute;
    BenchDataSettings data;
    BenchTrainSettings train;
    BenchSettings bench;
    std::string format = "text";
    void visit(Fields& v) {
        v.object("model", model, "the model to measure");
        v.object("compute", compute, "the machine");
        v.object("data", data, "rows");
        v.object("train", train, "memory");
        v.object("bench", bench, "the work");
        v.choice("format", format, {"text", "json"}, "json: one object on standard output");
    }
};

double now() {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    size_t half = values.size() / 2;
    return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// ---- rows ---------------------------------------------------------------------------------------

// What is measured: sequences with targets; a prompt is what stands before the first target.
std::vector<TrainSequence> make_sequences(const BenchConfig& config, const Model& model,
                                          size_t count) {
    std::vector<TrainSequence> sequences;
    if (config.data.train.empty()) {
        Rng rng(1);
        const int length = config.bench.prompt_tokens + config.bench.new_tokens;
        CHECK(length <= model.config.max_positions,
              "bench.prompt_tokens + bench.new_tokens is %d; the model's context is %d", length,
              model.config.max_positions);
        for (size_t i = 0; i < count; ++i) {
            TrainSequence& sequence = sequences.emplace_back();
            for (int t = 0; t < length; ++t) sequence.ids.push_back(rng.below(model.config.V));
            for (int t = config.bench.prompt_tokens; t < length; ++t) sequence.target.push_back(t);
        }
        return sequences;
    }
    Inputs inputs = open_inputs(model.source, model.config, config.data.template_name,
                                config.data.add_eos, ChatConfig());
    std::vector<Row> rows = read_rows(config.data.train, inputs.options, RowNeed::any);
    for (size_t i = 0; i < count; ++i) sequences.push_back(train_sequence(rows[i % rows.size()]));
    return sequences;
}

// ---- work and peak ------------------------------------------------------------------------------

// Sizes that the FLOP count depends on.
struct Work {
    double N = 0, R = 0, A = 0;
    void add(double length, double targets) {
        N += length, R += targets, A += length * (length + 1) / 2;
    }
};

double layer_weights(const ModelConfig& m) {
    return (double)m.C * m.qkv_width() + (double)m.H * m.D * m.C + 3.0 * m.C * m.F;
}

double forward_flop(const ModelConfig& m, const Work& work) {
    return 2 * work.N * m.L * layer_weights(m) + 2 * work.R * m.V * m.C +
           4.0 * m.L * m.H * m.D * work.A;
}

struct Buffers { // device memory for one call
    const Ops& ops;
    std::vector<void*> owned;
    Tensor take(DType dtype, int64_t rows, int64_t width) {
        owned.push_back(ops.alloc((size_t)rows * width * dtype_bytes(dtype)));
        CHECK(owned.back(), "out of memory; use a smaller bench.batch");
        return Tensor(owned.back(), dtype, {rows, width});
    }
    ~Buffers() {
        for (void* memory : owned) ops.free(memory);
    }
};

// Best seconds of the linear op on this weight with `rows` rows: forward, or forward and backward.
double linear_seconds(const Model& model, const Weight& weight, int64_t rows, bool backward) {
    const Ops& ops = *model.ops;
    Buffers buffers{ops, {}};
    const DType dtype = model.compute.dtype;
    const int64_t O = weight.w.shape[0], C = weight.w.shape[1];
    Tensor x = buffers.take(dtype, rows, C), y = buffers.take(dtype, rows, O), dx, dw;
    if (backward) dx = buffers.take(dtype, rows, C), dw = buffers.take(dtype, O, C);
    double best = INFINITY;
    for (int attempt = 0; attempt < 6; ++attempt) { // the first one warms up
        double start = now();
        ops.linear_forward(y, x, weight, {});
        if (backward) ops.linear_backward(dx, dw, {}, y, x, weight);
        best = std::min(best, now() - start);
    }
    return best;
}

// FLOP per second over the model's matrices: `rows` at a time in the layers, `head_rows` in the head.
double gemm_peak(const Model& model, int64_t rows, int64_t head_rows, double head_share,
                 bool backward) {
    const ModelConfig& m = model.config;
    const LayerParams& layer = model.params.layer[0];
    double seconds = 0, flop = 0;
    const double passes = backward ? 3 : 1;
    for (const Weight* weight : {&layer.qkv, &layer.out, &layer.gate_up, &layer.down}) {
        seconds += m.L * linear_seconds(model, *weight, rows, backward);
        flop += m.L * passes * 2 * (double)rows * (double)weight->w.size();
    }
    // head_share: head rows per row of the layers
    double calls = head_share * (double)rows / (double)head_rows;
    seconds += calls * linear_seconds(model, model.params.lm_head, head_rows, backward);
    flop += calls * passes * 2 * (double)head_rows * (double)model.params.lm_head.w.size();
    return flop / seconds;
}

// ---- report -------------------------------------------------------------------------------------

Json parts_json(const TimedParts& parts, double total, double runs) {
    Json json;
    json["gemm"] = parts.gemm / runs;
    json["attention"] = parts.attention / runs;
    json["norm"] = parts.norm / runs;
    json["head"] = parts.head / runs;
    json["optimiser"] = parts.optimiser / runs;
    json["rope"] = parts.rope / runs;
    json["swiglu"] = parts.feed_forward / runs;
    json["memory"] = parts.memory / runs;
    json["rest"] = (total - parts.sum()) / runs;
    return json;
}

void print_report(const BenchConfig& config, const Json& report, const std::string& formula) {
    if (config.format == "json") {
        std::printf("%s\n", report.dump().c_str());
        return;
    }
    double sum = 0;
    for (const auto& [name, seconds] : report["parts"].items()) sum += seconds.get<double>();
    for (const auto& [name, value] : report.items()) {
        if (value.is_object()) continue;
        std::printf("%-24s %s\n", name.c_str(),
                    value.is_number_float() ? format("%.4g", value.get<double>()).c_str()
                                            : value.dump().c_str());
    }
    std::printf("\n%s\n\n%-24s %10s %7s\n", formula.c_str(), "part", "seconds", "share");
    for (const auto& [name, seconds] : report["parts"].items())
        std::printf("%-24s %10.4f %6.1f%%\n", name.c_str(), seconds.get<double>(),
                    100 * seconds.get<double>() / sum);
}

Json describe(const BenchConfig& config, const char* what) {
    Json report;
    report["bench"] = what;
    report["model"] = config.model.path;
    report["dtype"] = config.compute.dtype == "auto" ? "f32" : config.compute.dtype;
    report["gemm"] = config.compute.gemm;
    report["batch"] = config.bench.batch;
    report["repeats"] = config.bench.repeats;
    return report;
}

// rate, peak: FLOP per second.
void add_rates(Json& report, double seconds, double rate, double peak) {
    report["step_seconds"] = seconds;
    report["gflops"] = rate * 1e-9;
    report["gemm_peak_gflops"] = peak * 1e-9;
    report["gemm_peak_share"] = rate / peak;
}

// ---- the two measurements -----------------------------------------------------------------------

int bench_train(const BenchConfig& config) {
    auto model = load_model(config.model.path, apply_compute(config.compute), false);
    const ModelConfig& m = model->config;
    CHECK(m.head == Head::lm, "%s is not a language model; bench train needs a vocabulary head",
          config.model.path.c_str());
    const int B = config.bench.batch, repeats = config.bench.repeats;
    const auto sequences = make_sequences(config, *model, (size_t)B * (repeats + 1));
    const Ops* plain = model->ops;
    model->ops = &timed_ops(*plain);
    Trainer trainer(*model, config.train.tokens_per_micro_batch, B);

    std::vector<double> seconds, token_rates,
        flop_rates; // medians of these: steps differ in length
    Work all;
    int64_t micro_batches = 0, tokens = 0;
    double total = 0;
    for (int r = 0; r <= repeats; ++r) {
        std::vector<TrainSequence> step(sequences.begin() + (size_t)r * B,
                                        sequences.begin() + (size_t)(r + 1) * B);
        if (r == 1) reset_timed_parts(); // the first step is not measured
        double start = now();
        StepStats stats = accumulate_gradients(trainer, step, sft_loss(step));
        apply_update(trainer, OptimConfig(), 0, stats); // rate 0: the weights stay
        double elapsed = now() - start;
        if (r == 0) continue;
        Work work;
        for (const TrainSequence& sequence : step)
            if (!sequence.target.empty()) // tokens behind the last target are not fed
                work.add(sequence.target.back(), (double)sequence.target.size());
        all.N += work.N, all.R += work.R, all.A += work.A;
        seconds.push_back(elapsed), total += elapsed;
        token_rates.push_back((double)stats.tokens / elapsed);
        flop_rates.push_back(3 * forward_flop(m, work) / elapsed);
        tokens += stats.tokens, micro_batches += stats.micro_batches;
    }
    Json parts = parts_json(timed_parts(), total, repeats);
    model->ops = plain;

    const int64_t rows = std::max<int64_t>(1, std::llround(all.N / (double)micro_batches));
    const int64_t targets = std::max<int64_t>(1, std::llround(all.R / (double)micro_batches));
    double peak = gemm_peak(*model, rows, std::min<int64_t>(targets, trainer.pass.chunk),
                            all.R / all.N, true);
    Json report = describe(config, "train");
    report["tokens_per_step"] = (double)tokens / repeats;
    report["targets_per_step"] = all.R / repeats;
    report["tokens_per_s"] = median(token_rates);
    add_rates(report, median(seconds), median(flop_rates), peak);
    report["gflop_per_token"] = 3 * forward_flop(m, all) / (double)tokens * 1e-9;
    report["parts"] = parts;
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
    auto model = load_model(config.model.path, apply_compute(config.compute), true);
    const ModelConfig& m = model->config;
    CHECK(m.head == Head::lm, "%s is not a language model; bench generate needs a vocabulary head",
          config.model.path.c_str());
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
    const Ops* plain = model->ops;
    model->ops = &timed_ops(*plain);
    std::vector<double> seconds, prefill, decode, rates;
    double total = 0;
    for (int r = 0; r <= repeats; ++r) {
        if (r == 1) reset_timed_parts(); // the first run is not measured
        GenerateStats stats;
        double start = now();
        generate(*model, prompts, sample, (uint32_t)r, &stats);
        double elapsed = now() - start;
        if (r == 0) continue;
        seconds.push_back(elapsed), total += elapsed;
        rates.push_back((double)stats.new_tokens / elapsed);
        prefill.push_back((double)stats.prompt_tokens / stats.prefill_seconds);
        decode.push_back((double)(stats.new_tokens - B) / stats.decode_seconds);
    }
    Json parts = parts_json(timed_parts(), total, repeats);
    model->ops = plain;

    Json report = describe(config, "generate");
    report["prompt_tokens"] = (work.N - B * decode_steps) / B;
    report["new_tokens"] = config.bench.new_tokens;
    report["tokens_per_s"] = median(rates);
    report["prefill_tokens_per_s"] = median(prefill);
    report["decode_tokens_per_s"] = median(decode);
    add_rates(report, median(seconds), forward_flop(m, work) / median(seconds),
              gemm_peak(*model, B, B, 1, false));
    report["gflop_per_token"] = forward_flop(m, work) / (B * config.bench.new_tokens) * 1e-9;
    report["parts"] = parts;
    print_report(
        config, report,
        format("FLOP/run = 2 N P + 2 R V C + 4 L H D A: N = %.0f fed tokens, R = %.0f new "
               "ones, P = %.0f,\nV = %d, C = %d, L = %d, H = %d, D = %d, A = sum T (T+1) / "
               "2 = %.0f; the GEMM peak is that of %d rows, as in decoding",
               work.N, work.R, m.L * layer_weights(m), m.V, m.C, m.L, m.H, m.D, work.A, B));
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
    fail("rlhf bench needs to know what: train or generate, found \"%s\"",
         args.config_path.c_str());
}

static void bench_fields(Fields& fields) {
    static BenchConfig config;
    config.visit(fields);
}

extern const Command bench_command;
const Command bench_command = {
    "bench", "bench train|generate: rates, share of the GEMM peak, parts", cmd_bench, bench_fields};
