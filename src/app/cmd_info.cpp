// rlhf info: what a model directory holds, and what memory the model takes.

#include "app/commands.h"
#include "app/memory_plan.h"
#include "base/file.h"
#include "format/safetensors.h"
#include "model/hf.h"
#include "ops/gpu.h"
#include "text/tokenizer.h"
#include "train/settings.h"

#include <algorithm>
#include <cmath>

#include <cstdio>

namespace {
struct PlanTrain {
    int tokens_per_micro_batch = 2048;
    void visit(Fields& v) {
        v.field("tokens_per_micro_batch", tokens_per_micro_batch, 1, 1 << 24,
                "N: tokens whose activations are planned for");
    }
};
struct PlanSample {
    int batch = 64, prompt_tokens = 512, max_new_tokens = 512;
    void visit(Fields& v) {
        v.field("batch", batch, 1, 1e6, "B: sequences in flight that are planned for");
        v.field("prompt_tokens", prompt_tokens, 1, 1e6, "tokens of their prompts");
        v.field("max_new_tokens", max_new_tokens, 1, 1e6, "tokens drawn behind them");
    }
};
struct InfoConfig {
    ModelSettings model;
    ComputeSettings compute;
    PlanTrain train;
    PlanSample sample;
    double memory_gib = 0;
    int ranks = 1;
    std::string format = "text";
    void visit(Fields& v) {
        v.object("model", model, "the model");
        v.object("compute", compute, "how it would be computed");
        v.object("train", train, "what it would be trained with");
        v.object("sample", sample, "how RL would sample it");
        v.field("memory_gib", memory_gib, 0, 1e6,
                "memory to plan for, of a card that need not be there; 0: that of the GPU in use");
        v.field("ranks", ranks, 1, 4096, "GPUs that train together");
        v.choice("format", format, {"text", "json"}, "json: one object");
    }
};
} // namespace

static double mebibytes(double bytes) { return std::round(bytes / 1048576 * 10) / 10; }

// In MiB, training alone.
static Json memory_mib(const ModelConfig& m, const ComputeConfig& compute, const PlannedRun& run) {
    const MemoryPlan plan = plan_memory(m, compute, run);
    Json json;
    for (const auto& [name, bytes] : plan.parts) json[name] = mebibytes(bytes);
    json["training_total"] = mebibytes(plan.total());
    json["kv_cache_per_1000_tokens"] =
        mebibytes(2000.0 * m.L * m.K * m.D * (double)dtype_bytes(compute.dtype));
    return json;
}

static Json stored_json(const std::string& directory) {
    if (!has_safetensors(directory)) return nullptr;
    SafetensorsDirectory stored(directory);
    double bytes = 0;
    std::vector<std::string> dtypes;
    for (const MappedFile& file : stored.files) bytes += (double)file.size;
    for (auto& [name, tensor] : stored.tensors)
        if (std::find(dtypes.begin(), dtypes.end(), tensor.dtype) == dtypes.end())
            dtypes.push_back(tensor.dtype);
    return {{"files", stored.files.size()},
            {"tensors", stored.tensors.size()},
            {"dtypes", dtypes},
            {"mib", mebibytes(bytes)}};
}

static Json tokenizer_json(const std::string& directory) {
    if (!file_exists(join_path(directory, "tokenizer.json"))) return nullptr;
    auto tokenizer = Tokenizer::load(directory);
    bool has_template = file_exists(join_path(directory, "chat_template.jinja"));
    std::string config = join_path(directory, "tokenizer_config.json");
    if (file_exists(config)) has_template |= read_json(config).contains("chat_template");
    return {{"kind", "byte-level BPE"},
            {"vocabulary", tokenizer->vocabulary()},
            {"chat_template", has_template}};
}

static const char* head_name(const ModelConfig& m) {
    return m.head == Head::token_classification      ? "score at every token"
           : m.head == Head::sequence_classification ? "score at the last token"
                                                     : "vocabulary";
}

// Objects become lines "key  value" under their own name; nested ones are indented.
static void print_text(const Json& json, int indent) {
    for (auto& [key, value] : json.items()) {
        if (value.is_object()) {
            std::printf("%*s%s\n", indent, "", key.c_str());
            print_text(value, indent + 2);
        } else {
            std::printf("%*s%-*s %s\n", indent, "", 28 - indent, key.c_str(),
                        value.is_null()     ? "none"
                        : value.is_string() ? value.get<std::string>().c_str()
                                            : dump_row(value).c_str());
        }
    }
}

static int info(InfoConfig& config, const Args&) {
    std::string directory = model_directory(config.model.path);
    ModelConfig m = read_model_config(directory);
    // The plan of a card that is not here needs no GPU, and no GPU code.
    ComputeConfig compute =
        config.memory_gib > 0 ? compute_config(config.compute) : apply_compute(config.compute);
    double memory = config.memory_gib * 1073741824;
    if (compute.gpu && memory == 0) memory = gpu_info().memory_bytes;
    PlannedRun sft, rl;
    sft.tokens_per_micro_batch = rl.tokens_per_micro_batch = config.train.tokens_per_micro_batch;
    sft.ranks = rl.ranks = config.ranks;
    rl.rl = true, rl.batch = config.sample.batch;
    rl.prompt_tokens = config.sample.prompt_tokens, rl.new_tokens = config.sample.max_new_tokens;
    Json shape = {{"layers", m.L},      {"hidden", m.C},
                  {"query_heads", m.H}, {"key_value_heads", m.K},
                  {"head_width", m.D},  {"feed_forward", m.F},
                  {"vocabulary", m.V},  {"tied_embeddings", m.tied_embeddings}};
    Json rope = {{"theta", m.rope_theta}};
    if (m.rope_scaling.factor != 1)
        rope[m.rope_scaling.original_max_position ? "llama3_factor" : "linear_factor"] =
            m.rope_scaling.factor;
    Json json = {{"directory", directory},
                 {"family", m.family},
                 {"head", head_name(m)},
                 {"parameters", parameter_count(m)},
                 {"shape", shape},
                 {"rope", rope},
                 {"norm_eps", m.norm_eps},
                 {"context_tokens", m.max_positions},
                 {"eos", m.eos},
                 {"dtype", m.dtype},
                 {"stored", stored_json(directory)},
                 {"tokens_per_micro_batch", sft.tokens_per_micro_batch},
                 {"memory_mib", memory_mib(m, compute, sft)},
                 {"tokenizer", tokenizer_json(directory)}};
    if (memory > 0) {
        json["memory_gib"] = std::round(memory / 1073741824 * 100) / 100;
        json["plan_sft"] = plan_json(m, compute, sft, memory);
        if (m.head == Head::lm) json["plan_rl_with_reference"] = plan_json(m, compute, rl, memory);
    }
    if (!m.reward_head.empty()) json["reward_head"] = m.reward_head;
    if (config.format == "json")
        std::printf("%s\n", dump_row(json).c_str());
    else
        print_text(json, 0);
    return 0;
}

extern const Command info_command = command<InfoConfig, info>(
    "info", "family, shapes, parameters, memory plan, tokenizer of a model");
