// rlhf info: what a model directory holds, and what memory the model takes.

#include "app/commands.h"
#include "base/file.h"
#include "model/hf.h"
#include "model/safetensors.h"
#include "text/tokenizer.h"
#include "train/settings.h"

#include <algorithm>
#include <cmath>

#include <cstdio>

namespace {
struct PlanConfig {
    int tokens_per_micro_batch = 2048;
    void visit(Fields& v) {
        v.field("tokens_per_micro_batch", tokens_per_micro_batch, 1, 1 << 24,
                "N: tokens whose activations are planned for");
    }
};
struct InfoConfig {
    ModelSettings model;
    ComputeSettings compute;
    PlanConfig train;
    std::string format = "text";
    void visit(Fields& v) {
        v.object("model", model, "the model");
        v.object("compute", compute, "how it would be computed");
        v.object("train", train, "what it would be trained with");
        v.choice("format", format, {"text", "json"}, "json: one object");
    }
};
} // namespace

static double mebibytes(double bytes) { return std::round(bytes / 1048576 * 10) / 10; }

// In MiB. Nothing is taken: the arenas only count.
static Json memory_plan(const ModelConfig& m, const ComputeConfig& compute, int tokens) {
    Model shape;
    shape.config = m;
    shape.compute = compute;
    shape.ops = &cpu_ops(compute.dtype, compute.gemm);
    layout_params(shape.params, m, shape.weights, compute.dtype);
    layout_weight_forms(shape.params, m, shape.forms, *shape.ops, compute.gemm, false);
    double weights = (double)shape.weights.high_water, forms = (double)shape.forms.high_water;
    double activations = (double)pass_bytes(shape, tokens, tokens, true);
    double per_token = 2.0 * m.L * m.K * m.D * (double)dtype_bytes(compute.dtype);
    Json plan;
    plan["weights"] = mebibytes(weights);
    if (forms > 0) plan["weights_bf16"] = mebibytes(forms);
    plan["gradients"] = mebibytes(weights);
    plan["adamw_moments"] = mebibytes(2 * weights);
    plan["activations"] = mebibytes(activations);
    plan["training_total"] = mebibytes(4 * weights + forms + activations);
    plan["kv_cache_per_1000_tokens"] = mebibytes(1000 * per_token);
    return plan;
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
    ComputeConfig compute = apply_compute(config.compute);
    ModelConfig m = read_model_config(directory);
    int tokens = config.train.tokens_per_micro_batch;
    Json shape = {{"layers", m.L},      {"hidden", m.C},
                  {"query_heads", m.H}, {"key_value_heads", m.K},
                  {"head_width", m.D},  {"feed_forward", m.F},
                  {"vocabulary", m.V},  {"tied_embeddings", m.tied_embeddings}};
    Json rope = {{"theta", m.rope_theta}};
    if (m.rope_scaling.factor != 1) rope["llama3_factor"] = m.rope_scaling.factor;
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
                 {"tokens_per_micro_batch", tokens},
                 {"memory_mib", memory_plan(m, compute, tokens)},
                 {"tokenizer", tokenizer_json(directory)}};
    if (!m.reward_head.empty()) json["reward_head"] = m.reward_head;
    if (config.format == "json")
        std::printf("%s\n", dump_row(json).c_str());
    else
        print_text(json, 0);
    return 0;
}

extern const Command info_command = command<InfoConfig, info>(
    "info", "family, shapes, parameters, memory plan, tokenizer of a model");
