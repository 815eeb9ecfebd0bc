#include "model/params.h"

#include "base/half.h"
#include "base/rng.h"

#include <cmath>

namespace {
// Takes tensors from the arena and enters them into the list under their Hugging Face names.
struct Layout {
    Params& params;
    Arena& arena;
    DType dtype;

    Tensor take(const std::string& name, std::initializer_list<int64_t> shape) {
        Tensor tensor = arena.take(name, dtype, shape);
        arena.align(64 * dtype_bytes(dtype));
        return tensor;
    }
    Tensor vector(const std::string& name, int64_t size, Init init) {
        Tensor tensor = take(name, {size});
        params.list.push_back({name, tensor, init});
        return tensor;
    }
    Weight matrix(const std::string& name, int64_t rows, int64_t cols, Init init) {
        Weight weight = {take(name, {rows, cols}), {}, {}};
        params.list.push_back({name, weight.w, init});
        return weight;
    }
    // Rows of one fused tensor that the files keep apart.
    void parts(const Tensor& fused, const std::string& prefix,
               std::initializer_list<std::pair<const char*, int64_t>> names, const char* suffix,
               Init init) {
        int64_t row = 0;
        for (auto [name, count] : names) {
            params.list.push_back({prefix + name + suffix, fused.rows(row, count), init});
            row += count;
        }
    }
};
} // namespace

void layout_params(Params& params, const ModelConfig& config, Arena& arena, DType dtype,
                   int parts) {
    const ModelConfig& m = config;
    params = Params();
    Layout layout{params, arena, dtype};
    params.embedding = layout.matrix("model.embed_tokens.weight", m.V, m.C, Init::normal);
    params.layer.resize(m.L);
    for (int l = 0; l < m.L; ++l) {
        LayerParams& layer = params.layer[l];
        std::string at = "model.layers." + std::to_string(l) + ".";
        auto qkv_parts = {std::pair<const char*, int64_t>{"q_proj", m.H * m.D},
                          {"k_proj", m.K * m.D},
                          {"v_proj", m.K * m.D}};
        layer.qkv.w = layout.take(at + "self_attn.qkv", {m.qkv_width(), m.C});
        layout.parts(layer.qkv.w, at + "self_attn.", qkv_parts, ".weight", Init::normal);
        if (m.qkv_bias) {
            layer.qkv_bias = layout.take(at + "self_attn.qkv_bias", {m.qkv_width()});
            layout.parts(layer.qkv_bias, at + "self_attn.", qkv_parts, ".bias", Init::zero);
        }
        layer.out =
            layout.matrix(at + "self_attn.o_proj.weight", m.C, (int64_t)m.H * m.D, Init::residual);
        if (m.head_norm) {
            layer.q_norm = layout.vector(at + "self_attn.q_norm.weight", m.D, Init::one);
            layer.k_norm = layout.vector(at + "self_attn.k_norm.weight", m.D, Init::one);
        }
        layer.gate_up.w = layout.take(at + "mlp.gate_up", {2 * (int64_t)m.F, m.C});
        layout.parts(layer.gate_up.w, at + "mlp.", {{"gate_proj", m.F}, {"up_proj", m.F}},
                     ".weight", Init::normal);
        layer.down = layout.matrix(at + "mlp.down_proj.weight", m.C, m.F, Init::residual);
        layer.norm1 = layout.vector(at + "input_layernorm.weight", m.C, Init::one);
        layer.norm2 = layout.vector(at + "post_attention_layernorm.weight", m.C, Init::one);
    }
    params.norm = layout.vector("model.norm.weight", m.C, Init::one);
    if (m.head != Head::lm || m.value_head)
        params.score = layout.matrix("score.weight", 1, m.C, Init::normal);
    if (m.head != Head::lm) {
        if (m.score_bias) params.score_bias = layout.vector("score.bias", 1, Init::zero);
    } else if (m.tied_embeddings) {
        params.lm_head = params.embedding;
    } else {
        params.lm_head = layout.matrix("lm_head.weight", m.V, m.C, Init::normal);
    }
    if (m.row_heads)
        params.row_heads = layout.matrix("row_heads.weight", m.row_heads, m.C, Init::normal);
    arena.align((size_t)parts * 64 * dtype_bytes(dtype));
}

Tensor flat_array(const Arena& arena, DType dtype) {
    return Tensor(arena.memory, dtype, {(int64_t)(arena.capacity / dtype_bytes(dtype))});
}

void layout_weight_forms(Params& params, const ModelConfig& config, Arena& arena, const Ops& ops,
                         DType gemm, bool packed) {
    bool rounds = gemm == DType::bf16 && params.embedding.w.dtype != DType::bf16;
    auto forms = [&](Weight& weight, const std::string& name) {
        int64_t O = weight.w.shape[0], C = weight.w.shape[1];
        if (rounds) weight.copy = arena.take(name + " bf16", DType::bf16, {O, C});
        size_t bytes = packed ? ops.packed_bytes(O, C, gemm) : 0;
        if (bytes) weight.packed = arena.take(name + " packed", DType::u8, {(int64_t)bytes});
    };
    for (int l = 0; l < config.L; ++l) {
        LayerParams& layer = params.layer[l];
        std::string at = "layers." + std::to_string(l) + ".";
        forms(layer.qkv, at + "qkv");
        forms(layer.out, at + "out");
        forms(layer.gate_up, at + "gate_up");
        forms(layer.down, at + "down");
    }
    if (config.head != Head::lm) return; // a score is one row: its GEMM has no use for other forms
    forms(params.lm_head, "lm_head");
    if (config.tied_embeddings) params.embedding = params.lm_head;
}

void refresh_weights(const Params& params, const Ops& ops) {
    auto refresh = [&](const Weight& weight) {
        if (weight.copy || weight.packed) ops.refresh_weight(weight);
    };
    for (const LayerParams& layer : params.layer) {
        refresh(layer.qkv);
        refresh(layer.out);
        refresh(layer.gate_up);
        refresh(layer.down);
    }
    refresh(params.lm_head); // the embedding's own when tied; else the embedding has no forms
}

void init_params(const Params& params, const ModelConfig& config, const Ops& ops, uint64_t seed) {
    std::vector<float> values;
    for (size_t p = 0; p < params.list.size(); ++p) {
        const Param& param = params.list[p];
        int64_t size = param.tensor.size();
        values.resize(size);
        double deviation =
            1 / std::sqrt((double)param.tensor.shape[1]); // of a matrix (outputs, inputs)
        if (param.init == Init::residual) deviation /= std::sqrt(2.0 * config.L);
#pragma omp parallel for schedule(static) if (size > 1 << 12)
        for (int64_t i = 0; i < size; ++i) {
            Rng rng(seed, p);
            rng.count = 4 * i; // a normal number is four words
            values[i] = param.init == Init::one    ? 1.0f
                        : param.init == Init::zero ? 0.0f
                                                   : (float)(deviation * rng.normal());
        }
        upload_values(ops, param.tensor, 0, values.data(), size);
    }
    refresh_weights(params, ops);
}

template <class T, class F>
static void upload_as(const Ops& ops, Tensor part, const float* values, int64_t count, F convert) {
    std::vector<T> staging(count);
    for (int64_t i = 0; i < count; ++i) staging[i] = convert(values[i]);
    ops.upload(part, staging.data());
}

void upload_values(const Ops& ops, Tensor tensor, int64_t first, const float* values,
                   int64_t count) {
    Tensor part = tensor.elements(first, count);
    if (tensor.dtype == DType::f32)
        ops.upload(part, values);
    else if (tensor.dtype == DType::f64)
        upload_as<double>(ops, part, values, count, [](float x) { return (double)x; });
    else if (tensor.dtype == DType::bf16)
        upload_as<uint16_t>(ops, part, values, count, float_to_bf16);
    else
        fail("weights cannot be kept in %s", dtype_name(tensor.dtype));
}

template <class T, class F>
static void download_as(const Ops& ops, float* values, Tensor part, int64_t count, F convert) {
    std::vector<T> staging(count);
    ops.download(staging.data(), part);
    for (int64_t i = 0; i < count; ++i) values[i] = convert(staging[i]);
}

void download_values(const Ops& ops, float* values, Tensor tensor, int64_t first, int64_t count) {
    Tensor part = tensor.elements(first, count);
    if (tensor.dtype == DType::f32)
        ops.download(values, part);
    else if (tensor.dtype == DType::f64)
        download_as<double>(ops, values, part, count, [](double x) { return (float)x; });
    else if (tensor.dtype == DType::bf16)
        download_as<uint16_t>(ops, values, part, count, bf16_to_float);
    else
        fail("weights cannot be kept in %s", dtype_name(tensor.dtype));
}

int64_t parameter_count(const ModelConfig& config) {
    Params params;
    Arena arena("parameters");
    layout_params(params, config, arena, DType::f32);
    int64_t count = 0;
    for (const Param& param : params.list) count += param.tensor.size();
    return count;
}
