#include "app/memory_plan.h"

#include "model/pass.h"
#include "ops/gpu.h"
#include "rollout/generate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

// What CUDA and its libraries keep for themselves: the context with the kernels' code, the GEMM library's
// workspace and the ops' scratch. Assumed, as it differs between drivers.
static constexpr double cuda_own = 640.0 * 1048576;

static double gibibytes(double bytes) { return std::round(bytes / 1073741824 * 1000) / 1000; }

double MemoryPlan::total() const {
    double sum = 0;
    for (const auto& [name, bytes] : parts) sum += bytes;
    return sum;
}

MemoryPlan plan_memory(const ModelConfig& m, const ComputeConfig& compute, const PlannedRun& run) {
    Model shape;
    shape.config = m, shape.compute = compute;
    layout_params(shape.params, m, shape.weights, compute.dtype, run.ranks);
    const double elements = (double)shape.weights.high_water / (double)dtype_bytes(compute.dtype);
    const double wide = (double)dtype_bytes(wide_dtype(compute.dtype));
    const double weights = (double)shape.weights.high_water + wide * m.max_positions * m.D; // rope
    const int tokens = run.tokens_per_micro_batch;

    MemoryPlan plan;
    auto add = [&](const std::string& name, double bytes) { plan.parts.push_back({name, bytes}); };
    add("weights", weights);
    if (compute.gemm != compute.dtype && compute.gemm == DType::bf16)
        add("weights_bf16", 2 * elements);
    if (compute.dtype == DType::bf16) add("masters", wide * elements / run.ranks);
    add("gradients", wide * elements);
    add("adamw_moments", 2 * wide * elements / run.ranks);
    add("activations", (double)pass_bytes(shape, tokens, tokens, true));
    if (run.rl) {
        if (run.reference) {
            add("reference_weights", weights);
            add("reference_activations", (double)pass_bytes(shape, tokens, tokens, false));
        }
        add("key_value_cache",
            (double)cache_bytes(shape, run.batch, run.prompt_tokens, run.new_tokens));
        add("generation",
            (double)generation_bytes(shape, run.batch, run.prompt_tokens, run.new_tokens) -
                plan.parts.back().second);
    }
    if (compute.gpu) add("cuda_assumed", cuda_own);
    return plan;
}

namespace {

// A run with some switches thrown, and how a user throws them.
struct Variant {
    std::string switches;
    ComputeConfig compute;
    PlannedRun run;
};

Variant with_recompute(Variant v) {
    v.compute.recompute = true;
    v.switches += (v.switches.empty() ? "" : " ") + std::string("compute.recompute=true");
    return v;
}
Variant with_tokens(Variant v, int tokens) {
    v.run.tokens_per_micro_batch = tokens;
    v.switches +=
        format("%strain.tokens_per_micro_batch=%d", v.switches.empty() ? "" : " ", tokens);
    return v;
}
Variant with_batch(Variant v, int batch) {
    v.run.batch = batch;
    v.switches += format("%ssample.batch=%d", v.switches.empty() ? "" : " ", batch);
    return v;
}
Variant with_ranks(Variant v, int ranks) {
    v.run.ranks = ranks;
    v.switches =
        format("mpirun -n %d (ZeRO-1)%s", ranks, v.switches.empty() ? "" : " ") + v.switches;
    return v;
}

} // namespace

Json plan_json(const ModelConfig& m, const ComputeConfig& compute, const PlannedRun& run,
               double memory) {
    const Variant asked = {"", compute, run};
    auto total = [&](const Variant& v) { return plan_memory(m, v.compute, v.run).total(); };
    Json json, parts;
    const MemoryPlan plan = plan_memory(m, compute, run);
    for (const auto& [name, bytes] : plan.parts) parts[name] = gibibytes(bytes);
    json["gib"] = parts;
    json["total_gib"] = gibibytes(plan.total());
    if (!(memory > 0)) return json;

    const bool fits = plan.total() <= memory;
    json["fits"] = fits;
    if (run.rl) { // what is left when training has its memory, in sequences
        const double fixed = total(with_batch(asked, 1)), two = total(with_batch(asked, 2));
        const double room = (memory - fixed) / std::max(1.0, two - fixed);
        json["largest_decode_batch"] = (int64_t)std::max(0.0, std::floor(room) + (fixed <= memory));
    }
    if (fits) return json;

    // Each switch alone, then together until something fits.
    std::vector<Variant> single, together;
    if (!compute.recompute) single.push_back(with_recompute(asked));
    for (int tokens = run.tokens_per_micro_batch / 2; tokens >= 256; tokens /= 2)
        single.push_back(with_tokens(asked, tokens));
    if (run.rl)
        for (int batch = run.batch / 2; batch >= 8; batch /= 2)
            single.push_back(with_batch(asked, batch));
    for (int ranks : {2, 4, 8, 16, 32, 64})
        if (ranks > run.ranks && compute.gpu) single.push_back(with_ranks(asked, ranks));
    Json switches = Json::object();
    for (const Variant& v : single) switches[v.switches] = gibibytes(total(v));
    json["with_one_switch_gib"] = switches;

    together = single;
    Variant least = compute.recompute ? asked : with_recompute(asked);
    for (int tokens = run.tokens_per_micro_batch / 2; tokens >= 256; tokens /= 2)
        together.push_back(with_tokens(least, tokens));
    least = with_tokens(least, std::min(256, run.tokens_per_micro_batch));
    if (run.rl) {
        for (int batch = run.batch / 2; batch >= 8; batch /= 2)
            together.push_back(with_batch(least, batch));
        least = with_batch(least, std::min(8, run.batch));
    }
    for (int ranks : {2, 4, 8, 16, 32, 64})
        if (ranks > run.ranks && compute.gpu) together.push_back(with_ranks(least, ranks));
    json["fits_with"] = nullptr;
    for (const Variant& v : together)
        if (total(v) <= memory) {
            json["fits_with"] = v.switches;
            break;
        }
    return json;
}

void print_plan(const ModelConfig& model, const ComputeConfig& compute, const PlannedRun& run) {
    if (!compute.gpu) return;
    const GpuInfo gpu = gpu_info();
    const MemoryPlan plan = plan_memory(model, compute, run);
    std::fprintf(stderr, "memory on %s, GiB:", gpu.name.c_str());
    for (const auto& [name, bytes] : plan.parts)
        std::fprintf(stderr, " %s %.2f,", name.c_str(), bytes / 1073741824);
    std::fprintf(stderr, " together %.2f of %.2f\n", plan.total() / 1073741824,
                 gpu.memory_bytes / 1073741824);
    if (plan.total() <= gpu.memory_bytes) return;
    const Json json = plan_json(model, compute, run, gpu.memory_bytes);
    std::fprintf(stderr, "that does not fit; %s\n",
                 json["fits_with"].is_null()
                     ? "nor with any switch: use a smaller model"
                     : ("it fits with " + json["fits_with"].get<std::string>()).c_str());
}
