#include "app/bench.h"

#include "base/clock.h"
#include "base/rng.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    size_t half = values.size() / 2;
    return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
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
} // namespace

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

void add_rates(Json& report, double seconds, double rate, double peak) {
    report["step_seconds"] = seconds;
    report["gflops"] = rate * 1e-9;
    report["gemm_peak_gflops"] = peak * 1e-9;
    report["gemm_peak_share"] = rate / peak;
}
