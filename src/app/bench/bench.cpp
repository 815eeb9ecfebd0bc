#include "app/bench/bench.h"

#include "app/cards.h"
#include "base/clock.h"
#include "base/rng.h"
#include "model/hf.h"
#include "ops/gpu.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    size_t half = values.size() / 2;
    return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// ---- the machine --------------------------------------------------------------------------------

double Machine::clock() const {
    if (computed) return sum_of(op_records(), &OpRecord::bound);
    if (compute.gpu) gpu_ops(compute.dtype).wait();
    return now();
}

// Bytes per second, read and written, of a copy too large for any cache: the best of some.
static double copy_rate(const Ops& ops, int64_t mib) {
    const int64_t bytes = mib << 20;
    void *from = ops.alloc((size_t)bytes), *to = ops.alloc((size_t)bytes);
    double best = INFINITY;
    for (int attempt = 0; from && to && attempt < 6; ++attempt) {
        const double start = now();
        ops.copy(Tensor(to, DType::u8, {bytes}), Tensor(from, DType::u8, {bytes}));
        if (ops.wait) ops.wait();
        best = std::min(best, now() - start);
    }
    ops.free(from), ops.free(to);
    CHECK(std::isfinite(best), "no memory for a copy of %lld MiB; use a smaller bench.copy_mib",
          (long long)mib);
    return 2 * (double)bytes / best;
}

Machine find_machine(const BenchConfig& config) {
    Machine machine;
    machine.computed = !config.bench.card.empty();
    std::string name = config.bench.card;
    if (machine.computed) {
        CHECK(find_card(name), "bench.card=%s is not known; known are %s", name.c_str(),
              card_names().c_str());
        ComputeSettings settings = config.compute;
        settings.device = "cuda";
        machine.compute = compute_config(settings);
        machine.compute.ops = &idle_ops(machine.compute.dtype);
        machine.limits.bytes_per_s = find_card(name)->memory_gb_per_s * 1e9;
    } else {
        machine.compute = apply_compute(config.compute);
        if (machine.compute.gpu) name = gpu_info().name;
        const Ops& ops =
            machine.compute.gpu ? gpu_ops(machine.compute.dtype) : cpu_ops(machine.compute.dtype);
        machine.limits.bytes_per_s = copy_rate(ops, config.bench.copy_mib);
    }
    const Card* card = find_card(name);
    const bool bf16 = machine.compute.dtype == DType::bf16;
    if (config.bench.peak_tflops > 0) {
        machine.limits.flop_per_s = config.bench.peak_tflops * 1e12;
        machine.peak_from = "bench.peak_tflops";
    } else if (card) {
        machine.limits.flop_per_s = (bf16 ? card->bf16_tflops : card->f32_tflops) * 1e12;
        machine.peak_from =
            std::string(card->name) + (bf16 ? ", bf16 dense, data sheet" : ", f32, data sheet");
    }
    return machine;
}

std::unique_ptr<Model> open_model(const BenchConfig& config, const Machine& machine, bool packed) {
    auto model = machine.computed
                     ? make_model(read_model_config(model_directory(config.model.path)),
                                  machine.compute, false)
                     : load_model(config.model.path, machine.compute, packed);
    CHECK(model->config.head == Head::lm,
          "%s is not a language model; rlhf bench needs a vocabulary head",
          config.model.path.c_str());
    // What is not drawn cannot be kept off the end of sequence: tokens that nobody wrote are 0, an end in some
    // vocabularies.
    if (machine.computed) model->config.eos.clear();
    return model;
}

TimedRun measure(Model& model, const Machine& machine, int repeats,
                 const std::function<void(int)>& run) {
    const Ops& plain = *model.ops;
    const Ops& timed = timed_ops(plain, machine.limits);
    if (machine.computed) model.ops = &timed;
    reset_op_records();
    for (int r = 0; r <= repeats; ++r) run(r);
    model.ops = &timed;
    reset_op_records();
    const double start = machine.clock();
    run(repeats + 1);
    const double end = machine.clock();
    model.ops = &plain;
    return {op_records(), end - start};
}

// ---- rows ---------------------------------------------------------------------------------------

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

std::vector<std::vector<int32_t>> make_prompts(const BenchConfig& config, const Model& model,
                                               size_t count) {
    std::vector<std::vector<int32_t>> prompts;
    for (const TrainSequence& sequence : make_sequences(config, model, count)) {
        const size_t length = sequence.target.empty() ? sequence.ids.size() : sequence.target[0];
        prompts.emplace_back(sequence.ids.begin(), sequence.ids.begin() + length);
    }
    return prompts;
}

// ---- work and peak ------------------------------------------------------------------------------

double layer_weights(const ModelConfig& m) {
    return (double)m.C * m.qkv_width() + (double)m.H * m.D * m.C + 3.0 * m.C * m.F;
}

double forward_flop(const ModelConfig& m, const Work& work) {
    return 2 * work.N * m.L * layer_weights(m) + 2 * work.R * m.V * m.C +
           4.0 * m.L * m.H * m.D * work.A;
}

namespace {
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
    if (backward) dx = buffers.take(dtype, rows, C), dw = buffers.take(wide_dtype(dtype), O, C);
    double best = INFINITY;
    for (int attempt = 0; attempt < 6; ++attempt) { // the first one warms up
        double start = now();
        ops.linear_forward(y, x, weight, {});
        if (backward) ops.linear_backward(dx, dw, {}, y, x, weight);
        if (ops.wait) ops.wait();
        best = std::min(best, now() - start);
    }
    return best;
}
} // namespace

double gemm_peak(const Model& model, const Machine& machine, int64_t rows, int64_t head_rows,
                 double head_share, bool backward) {
    if (machine.computed) return machine.limits.flop_per_s;
    const ModelConfig& m = model.config;
    const LayerParams& layer = model.params.layer[0];
    double seconds = 0, flop = 0;
    const double passes = backward ? 3 : 1;
    for (const Weight* weight : {&layer.qkv, &layer.out, &layer.gate_up, &layer.down}) {
        seconds += m.L * linear_seconds(model, *weight, rows, backward);
        flop += m.L * passes * 2 * (double)rows * (double)weight->w.size();
    }
    double calls = head_share * (double)rows / (double)head_rows;
    seconds += calls * linear_seconds(model, model.params.lm_head, head_rows, backward);
    flop += calls * passes * 2 * (double)head_rows * (double)model.params.lm_head.w.size();
    return flop / seconds;
}

// ---- report -------------------------------------------------------------------------------------

void add_ops(Json& report, const Machine& machine, const TimedRun& timed) {
    const auto seconds = machine.computed ? &OpRecord::bound : &OpRecord::seconds;
    Json parts, ops;
    for (const char* part : op_parts) parts[part] = sum_of(timed.ops, seconds, part);
    parts["rest"] = timed.seconds - sum_of(timed.ops, seconds);
    for (const OpRecord& r : timed.ops)
        ops[r.name] = {{"calls", r.calls},
                       {"seconds", r.*seconds},
                       {"gflops", r.flop / (r.*seconds) * 1e-9},
                       {"gb_per_s", r.bytes / (r.*seconds) * 1e-9}};
    report["timed_seconds"] = timed.seconds;
    report["ops_seconds"] = sum_of(timed.ops, seconds);
    report["parts"] = parts;
    report["ops"] = ops;
}

static void print_value(const std::string& name, const Json& value) {
    std::printf("%-24s %s\n", name.c_str(),
                value.is_number_float() ? format("%.4g", value.get<double>()).c_str()
                : value.is_string()     ? value.get<std::string>().c_str()
                                        : value.dump().c_str());
}

void print_report(const BenchConfig& config, const Json& report, const std::string& formula) {
    if (config.format == "json") {
        std::printf("%s\n", report.dump().c_str());
        return;
    }
    for (const auto& [name, value] : report.items())
        if (!value.is_object()) print_value(name, value);
    std::printf("\n%s\n", formula.c_str());
    if (report.contains("parts")) {
        double sum = 0;
        for (const auto& [name, seconds] : report["parts"].items()) sum += seconds.get<double>();
        std::printf(
            "\nOne more run, op by op: %.4g s, of which %.4g s in ops; on a GPU an op is timed\n"
            "between two marks on the device, and what is left lies between kernels\n",
            report["timed_seconds"].get<double>(), report["ops_seconds"].get<double>());
        std::printf("%-28s %10s %7s\n", "part", "seconds", "share");
        for (const auto& [name, seconds] : report["parts"].items())
            std::printf("%-28s %10.4g %6.1f%%\n", name.c_str(), seconds.get<double>(),
                        100 * seconds.get<double>() / sum);
    }
    const double copy = report["memory_gb_per_s"];
    std::printf("\n%-28s %10s %7s %10s %10s %9s\n", "op", "seconds", "calls", "GFLOP/s", "GB/s",
                "of memory");
    for (const auto& [name, op] : report["ops"].items()) {
        const double rate = op["gb_per_s"];
        std::printf("%-28s %10.4g %7.0f %10.4g %10.4g %8.0f%%\n", name.c_str(),
                    op["seconds"].get<double>(), op["calls"].get<double>(),
                    op["gflops"].get<double>(), rate, 100 * rate / copy);
    }
}

Json describe(const BenchConfig& config, const Machine& machine, const char* what) {
    Json report;
    report["bench"] = what;
    report["model"] = config.model.path;
    report["device"] = machine.computed      ? "computed, nothing ran: " + config.bench.card
                       : machine.compute.gpu ? gpu_info().name
                                             : "cpu";
    report["dtype"] = dtype_name(machine.compute.dtype);
    report["gemm"] = dtype_name(machine.compute.dtype == DType::f32 ? machine.compute.gemm
                                                                    : machine.compute.dtype);
    report["batch"] = config.bench.batch;
    report["repeats"] = config.bench.repeats;
    report["memory_gb_per_s"] = machine.limits.bytes_per_s * 1e-9;
    report["memory_from"] =
        machine.computed ? "data sheet" : format("a copy of %d MiB", config.bench.copy_mib);
    return report;
}

void add_rates(Json& report, const Machine& machine, double seconds, double rate, double peak) {
    report["step_seconds"] = seconds;
    report["gflops"] = rate * 1e-9;
    report["gemm_peak_gflops"] = peak * 1e-9;
    report["gemm_peak_share"] = rate / peak;
    if (machine.limits.flop_per_s > 0) {
        report["mfu"] = rate / machine.limits.flop_per_s;
        report["mfu_formula"] =
            format("FLOP/step / step_seconds / %.4g TFLOP/s (%s)",
                   machine.limits.flop_per_s * 1e-12, machine.peak_from.c_str());
    } else if (machine.compute.gpu) {
        report["mfu"] = nullptr;
        report["mfu_formula"] = "the peak of this card is not known: give bench.peak_tflops";
    }
}
