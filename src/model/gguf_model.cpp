#include "model/gguf_model.h"

#include "model/params.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <set>

// ---- configuration ------------------------------------------------------------------------------

// Llama 3 scaling is stored as its outcome: inverse factors of the D/2 frequencies. They are functions of
// factor, original_max_position / low_freq_factor and / high_freq_factor only; the parameters that
// reproduce all of them are found by trying. [llama.cpp, conversion of rope_freqs]
static double llama3_factor(const RopeScaling& scaling, double wavelength) {
    double original = scaling.original_max_position;
    if (wavelength < original / scaling.high_freq_factor) return 1;
    if (wavelength > original / scaling.low_freq_factor) return scaling.factor;
    double smooth = (original / wavelength - scaling.low_freq_factor) /
                    (scaling.high_freq_factor - scaling.low_freq_factor);
    return 1 / ((1 - smooth) / scaling.factor + smooth);
}

static RopeScaling find_scaling(const GgufTensor& tensor, const ModelConfig& m,
                                const std::string& where) {
    CHECK(gguf_readable(tensor) && tensor.rows == 1 && tensor.cols == m.D / 2,
          "%s: rope_freqs.weight must hold the %d frequencies of a head in F32", where.c_str(),
          m.D / 2);
    std::vector<float> factors(tensor.cols);
    gguf_read_row(tensor, 0, factors.data());
    RopeScaling scaling;
    scaling.factor = *std::max_element(factors.begin(), factors.end());
    // Llama's own 8192 and 4 first: where several explain the factors, they are meant
    for (double high : {4.0, 2.0, 8.0, 16.0, 32.0})
        for (int original :
             {8192, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 32768, 65536, 131072}) {
            scaling.high_freq_factor = high;
            scaling.original_max_position = original;
            bool same = scaling.factor >= 1;
            for (int i = 0; i < m.D / 2; ++i) {
                double wavelength = 2 * M_PI * std::pow(m.rope_theta, 2.0 * i / m.D);
                double want = llama3_factor(scaling, wavelength);
                same &= std::abs(factors[i] - want) <= 1e-4 * want;
            }
            if (same) return scaling;
        }
    fail("%s: rope_freqs.weight is not Llama 3 scaling of any parameters that were tried; convert "
         "from the "
         "original model instead",
         where.c_str());
}

// Keys of the architecture that are read below, or that change nothing. Every other one is a part of the
// computation that is not known here, unless it is 0.
static void check_keys(const Json& meta, const std::string& family, const std::string& where) {
    static const char* const known[] = {"block_count",
                                        "embedding_length",
                                        "feed_forward_length",
                                        "attention.head_count",
                                        "attention.head_count_kv",
                                        "attention.key_length",
                                        "attention.value_length",
                                        "attention.layer_norm_rms_epsilon",
                                        "attention.layer_norm_epsilon",
                                        "attention.sliding_window",
                                        "attention.causal",
                                        "context_length",
                                        "expert_count",
                                        "expert_used_count",
                                        "pooling_type",
                                        "rope.freq_base",
                                        "rope.dimension_count",
                                        "rope.scale_linear",
                                        "rope.scaling.type",
                                        "rope.scaling.factor",
                                        "rope.scaling.original_context_length",
                                        "rope.scaling.finetuned",
                                        "tensor_data_layout",
                                        "vocab_size"};
    const std::string prefix = family + ".";
    for (auto& [key, value] : meta.items()) {
        if (key.rfind(prefix, 0) != 0 || value == 0 || value == false) continue;
        const bool is_known =
            std::count(std::begin(known), std::end(known), key.substr(prefix.size()));
        CHECK(is_known, "%s: %.80s = %.60s is not supported", where.c_str(), key.c_str(),
              dump_row(value).c_str());
    }
}

// Linear scaling as llama.cpp reads it: a factor, by its newer or its older name, of type linear unless
// another type is named; 0 means none.
static RopeScaling read_scaling(const Json& meta, const ModelConfig& m, const std::string& where) {
    auto key = [&](const char* name) { return m.family + "." + name; };
    const std::string type_key = key("rope.scaling.type"), newer = key("rope.scaling.factor"),
                      older = key("rope.scale_linear");
    const std::string type = json_string_or(meta, type_key.c_str(), "linear", where);
    CHECK(type == "none" || type == "linear",
          "%s: %s \"%.60s\" is not supported; supported are none and linear, and Llama 3's scaling "
          "as rope_freqs.weight",
          where.c_str(), type_key.c_str(), type.c_str());
    const std::string& used = meta.contains(newer) ? newer : older;
    const double factor = json_number_or(meta, used.c_str(), 0, where);
    RopeScaling scaling;
    if (type == "none" || factor == 0 || factor == 1) return scaling;
    CHECK(factor > 1, "%s: %s = %g is not supported; a factor from 1 on is", where.c_str(),
          used.c_str(), factor);
    scaling.original_max_position = 0, scaling.factor = factor;
    return scaling;
}

ModelConfig gguf_model_config(const GgufContents& gguf, const std::string& where) {
    const Json& meta = gguf.metadata;
    ModelConfig m;
    m.family = json_string(meta, "general.architecture", where);
    CHECK(m.family == "llama" || m.family == "qwen2" || m.family == "qwen3",
          "%s: architecture \"%.60s\" is not supported; supported are llama, qwen2, qwen3",
          where.c_str(), m.family.c_str());
    auto key = [&](const char* name) { return m.family + "." + name; };
    auto size_or = [&](const char* name, int64_t missing) {
        int64_t value = json_int_or(meta, key(name).c_str(), missing, where);
        CHECK(value >= 1 && value <= 1 << 28, "%s: %s = %lld is missing or out of range",
              where.c_str(), key(name).c_str(), (long long)value);
        return (int)value;
    };
    auto size = [&](const char* name) { return size_or(name, 0); };
    check_keys(meta, m.family, where);
    CHECK(json_int_or(meta, key("expert_count").c_str(), 0, where) == 0,
          "%s: mixtures of experts are not supported", where.c_str());
    CHECK(json_bool_or(meta, key("attention.causal").c_str(), true, where) &&
              json_int_or(meta, key("pooling_type").c_str(), 0, where) == 0,
          "%s: models of embeddings (%s, %s) are not supported", where.c_str(),
          key("attention.causal").c_str(), key("pooling_type").c_str());
    m.L = size("block_count");
    m.C = size("embedding_length");
    m.F = size("feed_forward_length");
    m.H = size("attention.head_count");
    m.K = size_or("attention.head_count_kv", m.H);
    m.D = size_or("attention.key_length", m.C / m.H);
    m.max_positions = size("context_length");
    m.rope_theta = json_number_or(meta, key("rope.freq_base").c_str(), 10000, where);
    m.norm_eps = json_number(meta, key("attention.layer_norm_rms_epsilon").c_str(), where);
    // The file keeps it in f32; the decimal that was meant is the shortest one that gives this f32.
    m.norm_eps = std::strtod(format("%.6g", m.norm_eps).c_str(), nullptr);
    m.qkv_bias = m.family == "qwen2";
    m.head_norm = m.family == "qwen3";
    m.tied_embeddings = !gguf.tensors.count("output.weight");
    CHECK(m.L <= 1 << 16 && m.H % m.K == 0 && m.D % 2 == 0 &&
              (int64_t)m.qkv_width() == ((int64_t)m.H + 2 * (int64_t)m.K) * m.D &&
              m.rope_theta > 0 && m.norm_eps > 0,
          "%s: %d layers of %d query and %d key heads of width %d, rope base %g, epsilon %g cannot "
          "be right",
          where.c_str(), m.L, m.H, m.K, m.D, m.rope_theta, m.norm_eps);
    CHECK(size_or("attention.value_length", m.D) == m.D &&
              size_or("rope.dimension_count", m.D) == m.D,
          "%s: value heads or rotations of another width than the key heads' %d are not supported",
          where.c_str(), m.D);
    const int64_t window =
        json_int_or(meta, key("attention.sliding_window").c_str(), m.max_positions, where);
    CHECK(window == 0 || window >= m.max_positions,
          "%s: sliding window attention is not supported, and %s is %lld, below the context of %d",
          where.c_str(), key("attention.sliding_window").c_str(), (long long)window,
          m.max_positions);
    m.rope_scaling = read_scaling(meta, m, where);
    auto embedding = gguf.tensors.find("token_embd.weight");
    CHECK(embedding != gguf.tensors.end(), "%s: tensor token_embd.weight is missing",
          where.c_str());
    CHECK(embedding->second.rows <= 1 << 28, "%s: a vocabulary of %lld tokens cannot be right",
          where.c_str(), (long long)embedding->second.rows);
    m.V = (int)embedding->second.rows;
    auto freqs = gguf.tensors.find("rope_freqs.weight");
    if (freqs != gguf.tensors.end()) {
        CHECK(m.rope_scaling.factor == 1,
              "%s: linear rope scaling and rope_freqs.weight at once are not "
              "supported",
              where.c_str());
        m.rope_scaling = find_scaling(freqs->second, m, where);
    }

    auto token = [&](const char* name) {
        int64_t id = json_int_or(meta, name, -1, where);
        return id >= 0 && id < m.V ? (int)id : -1;
    };
    m.bos = token("tokenizer.ggml.bos_token_id");
    m.pad = token("tokenizer.ggml.padding_token_id");
    for (const char* name : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                             "tokenizer.ggml.eom_token_id"})
        if (int id = token(name);
            id >= 0 && std::find(m.eos.begin(), m.eos.end(), id) == m.eos.end())
            m.eos.push_back(id);
    return m;
}

// ---- weights ------------------------------------------------------------------------------------

DType gguf_dtype(const GgufContents& gguf) {
    std::set<uint32_t> types;
    for (auto& [name, tensor] : gguf.tensors)
        if (tensor.rank == 2) types.insert(tensor.type);
    if (types == std::set<uint32_t>{1}) return DType::f16;
    if (types == std::set<uint32_t>{30}) return DType::bf16;
    return DType::f32;
}

// "model.layers.3.mlp.up_proj.weight" -> "blk.3.ffn_up.weight"
static std::string gguf_name(const std::string& name) {
    static const std::pair<const char*, const char*> whole[] = {
        {"model.embed_tokens.weight", "token_embd.weight"},
        {"model.norm.weight", "output_norm.weight"},
        {"lm_head.weight", "output.weight"}};
    static const std::pair<const char*, const char*> parts[] = {
        {"self_attn.q_proj", "attn_q"},          {"self_attn.k_proj", "attn_k"},
        {"self_attn.v_proj", "attn_v"},          {"self_attn.o_proj", "attn_output"},
        {"self_attn.q_norm", "attn_q_norm"},     {"self_attn.k_norm", "attn_k_norm"},
        {"mlp.gate_proj", "ffn_gate"},           {"mlp.up_proj", "ffn_up"},
        {"mlp.down_proj", "ffn_down"},           {"input_layernorm", "attn_norm"},
        {"post_attention_layernorm", "ffn_norm"}};
    for (auto [from, to] : whole)
        if (name == from) return to;
    const size_t prefix = std::strlen("model.layers.");
    size_t layer_end = name.find('.', prefix), part_end = name.rfind('.');
    std::string part = name.substr(layer_end + 1, part_end - layer_end - 1);
    for (auto [from, to] : parts)
        if (part == from)
            return "blk." + name.substr(prefix, layer_end - prefix) + "." + to +
                   name.substr(part_end);
    fail("%s has no name in GGUF", name.c_str());
}

// llama.cpp rotates neighbouring values and keeps the rows of each q and k head of Llama models in the
// order 0, D/2, 1, D/2+1, ...; row r of Hugging Face's order is found in its place there.
static int64_t permuted_row(int64_t row, int D) {
    int64_t head = row / D, place = row % D, half = place / (D / 2), i = place % (D / 2);
    return head * D + 2 * i + half;
}

static std::function<void(int64_t, int64_t, float*)> row_reader(const GgufTensor& tensor,
                                                                int permuted_width) {
    return [&tensor, permuted_width](int64_t first, int64_t count, float* values) {
        int64_t cols = tensor.cols, last_row = (first + count - 1) / cols;
#pragma omp parallel if (count > 1 << 14)
        {
            std::vector<float> row_values(cols);
#pragma omp for schedule(static)
            for (int64_t row = first / cols; row <= last_row; ++row) {
                int64_t stored = permuted_width ? permuted_row(row, permuted_width) : row;
                gguf_read_row(tensor, stored, row_values.data());
                int64_t begin = std::max(first, row * cols),
                        end = std::min(first + count, (row + 1) * cols);
                std::copy(row_values.begin() + (begin - row * cols),
                          row_values.begin() + (end - row * cols), values + (begin - first));
            }
        }
    };
}

std::vector<TensorSource> gguf_weights(const GgufContents& gguf, const ModelConfig& config,
                                       DType dtype, const std::string& where) {
    Params params;
    Arena arena("parameters");
    layout_params(params, config, arena, DType::f32);
    std::set<std::string> used{"rope_freqs.weight"};
    std::vector<TensorSource> sources;
    for (const Param& param : params.list) {
        std::string name = gguf_name(param.name);
        auto found = gguf.tensors.find(name);
        CHECK(found != gguf.tensors.end(), "%s: tensor %s is missing", where.c_str(), name.c_str());
        const GgufTensor& tensor = found->second;
        int64_t rows = param.tensor.rank == 1 ? 1 : param.tensor.shape[0],
                cols = param.tensor.shape[param.tensor.rank - 1];
        CHECK(tensor.rows == rows && tensor.cols == cols,
              "%s: tensor %s has shape (%lld, %lld); the metadata ask for (%lld, %lld)",
              where.c_str(), name.c_str(), (long long)tensor.rows, (long long)tensor.cols,
              (long long)rows, (long long)cols);
        CHECK(
            gguf_readable(tensor),
            "%s: tensor %s has type %s (%u); F32, F16, BF16, Q8_0, Q4_0, Q4_1 and Q6_K can be read",
            where.c_str(), name.c_str(), gguf_type_name(tensor.type), tensor.type);
        bool permuted = config.family == "llama" && (name.find(".attn_q.") != std::string::npos ||
                                                     name.find(".attn_k.") != std::string::npos);
        std::vector<int64_t> shape(param.tensor.shape, param.tensor.shape + param.tensor.rank);
        sources.push_back({param.name, shape, dtype, row_reader(tensor, permuted ? config.D : 0)});
        used.insert(name);
    }
    for (auto& [name, tensor] : gguf.tensors)
        CHECK(used.count(name), "%s: tensor %.80s is no part of a %s model that can be read",
              where.c_str(), name.c_str(), config.family.c_str());
    return sources;
}
