// The model's memory: weights, rope table, activations of a pass.

#include "model/model.h"

#include <algorithm>
#include <cmath>

// Rope's angles per position [Su et al. 2021, section 3.4.2], with Llama 3.1's scaling: wave lengths
// beyond original / low_freq_factor are stretched by `factor`, short ones left alone, in between smoothed.
// In f32 the angle is rounded to f32 before the cosine is taken, as transformers and vLLM do it: at
// position 4000 the difference to the exact angle is 1e-4, and logits are compared with theirs.
static void fill_rope_table(Model& model) {
    const ModelConfig& m = model.config;
    const RopeScaling& scaling = m.rope_scaling;
    const int half = m.D / 2;
    std::vector<double> inv_freq(half);
    for (int i = 0; i < half; ++i) {
        double freq = std::pow(m.rope_theta, -2.0 * i / m.D);
        if (scaling.factor != 1) {
            double wave = 2 * M_PI / freq;
            double smooth = (scaling.original_max_position / wave - scaling.low_freq_factor) /
                            (scaling.high_freq_factor - scaling.low_freq_factor);
            smooth = std::clamp(smooth, 0.0, 1.0);
            freq = (1 - smooth) * freq / scaling.factor + smooth * freq;
        }
        inv_freq[i] = freq;
    }
    const bool f32 = model.rope_table.dtype == DType::f32;
    std::vector<double> table64((size_t)m.max_positions * m.D);
    for (int p = 0; p < m.max_positions; ++p)
        for (int i = 0; i < half; ++i) {
            double angle = f32 ? (double)((float)p * (float)inv_freq[i]) : p * inv_freq[i];
            table64[(size_t)p * m.D + i] = std::cos(angle);
            table64[(size_t)p * m.D + half + i] = std::sin(angle);
        }
    if (f32) {
        std::vector<float> table(table64.begin(), table64.end());
        model.ops->upload(model.rope_table, table.data());
    } else {
        model.ops->upload(model.rope_table, table64.data());
    }
}

std::unique_ptr<Model> make_model(const ModelConfig& config, const ComputeConfig& compute,
                                  bool packed) {
    auto model = std::make_unique<Model>();
    model->config = config;
    model->compute = compute;
    model->ops = compute.ops   ? compute.ops
                 : compute.gpu ? &gpu_ops(compute.dtype)
                               : &cpu_ops(compute.dtype, compute.gemm);
    const Ops& ops = *model->ops;
    auto layout_weights = [&] {
        layout_params(model->params, config, model->weights, compute.dtype, compute.parts());
    };
    layout_weights();
    model->weights.allocate(ops.alloc, ops.free);
    layout_weights();
    auto layout_forms = [&] {
        model->rope_table = model->forms.take("rope_table", wide_dtype(compute.dtype),
                                              {config.max_positions, config.D});
        layout_weight_forms(model->params, config, model->forms, ops, compute.gemm, packed);
    };
    layout_forms();
    model->forms.allocate(ops.alloc, ops.free);
    layout_forms();
    fill_rope_table(*model);
    return model;
}

int HostBatch::add(const int32_t* first, int count, int prefix_length, int parent_sequence) {
    ids.insert(ids.end(), first, first + count);
    begin.push_back((int)ids.size());
    prefix.push_back(prefix_length);
    parent.push_back(parent_sequence);
    return sequences() - 1;
}

// A chunk of logits takes up to 512 MiB. The sum over chunks into the LM head's gradient reads and writes all of it
// once per chunk: with a vocabulary of 152,000 and 220 rows a chunk that would be a quarter of a training step on
// a GPU (rlhf bench train bench.card=H100). And logits that are one chunk are computed once for logp and
// backward (heads.cpp).
static int chunk_rows(int64_t N, const Model& model) {
    const int64_t elements = (512 << 20) / (int64_t)dtype_bytes(model.compute.dtype);
    return (int)std::min<int64_t>(N, std::max<int64_t>(64, elements / model.config.V));
}

static void layout_layer(LayerActs& acts, const ModelConfig& m, Arena& arena, DType dtype,
                         int64_t N, const std::string& name) {
    auto take = [&](const char* what, int64_t width) {
        return arena.take(name + what, dtype, {N, width});
    };
    auto take_rows = [&](const char* what) {
        return arena.take(name + what, wide_dtype(dtype), {N});
    };
    auto take_heads = [&](const char* what, int64_t heads) {
        return arena.take(name + what, wide_dtype(dtype), {N, heads});
    };
    acts.y1 = take("norm1", m.C), acts.s1 = take_rows("norm1.s");
    if (m.head_norm) {
        acts.raw = take("qkv_raw", m.qkv_width());
        acts.raw_s = take_heads("qkv_raw.s", m.H + m.K);
    }
    acts.qkv = take("qkv", m.qkv_width());
    acts.att = take("attention", (int64_t)m.H * m.D), acts.lse = take_heads("attention.lse", m.H);
    acts.x2 = take("residual2", m.C), acts.y2 = take("norm2", m.C), acts.s2 = take_rows("norm2.s");
    acts.gate_up = take("gate_up", 2 * m.F), acts.act = take("swiglu", m.F);
}

static void layout_pass(Pass& pass, Arena& arena, int64_t N, int64_t S) {
    const ModelConfig& m = pass.model.config;
    const DType dtype = pass.model.compute.dtype;
    auto take = [&](const char* what, int64_t width) {
        return arena.take(what, dtype, {N, width});
    };
    auto take_rows = [&](const char* what) { return arena.take(what, wide_dtype(dtype), {N}); };
    auto take_ids = [&](const char* what, int64_t count) {
        return arena.take(what, DType::i32, {count});
    };
    pass.ids = take_ids("ids", N);
    pass.ragged.begin = take_ids("begin", S + 1);
    pass.ragged.prefix = take_ids("prefix", S), pass.ragged.parent = take_ids("parent", S);
    pass.ragged.position = take_ids("position", N);

    pass.layer.resize(m.L);
    const bool keep_all = pass.with_backward && !pass.model.compute.recompute;
    for (int l = 0; l < m.L; ++l) {
        LayerActs& acts = pass.layer[l];
        std::string name = "layer" + std::to_string(l) + ".";
        if (l > 0 && !keep_all) acts = pass.layer[0];
        if (l == 0 || pass.with_backward) acts.x = arena.take(name + "residual", dtype, {N, m.C});
        if (l == 0 || keep_all) layout_layer(acts, m, arena, dtype, N, name);
    }
    pass.hidden = take("hidden", m.C), pass.branch = take("branch", m.C);
    if (pass.with_backward) {
        pass.dx = take("dx", m.C), pass.dy = take("dy", m.C);
        pass.datt = take("dattention", (int64_t)m.H * m.D), pass.dqkv = take("dqkv", m.qkv_width());
        if (m.head_norm) pass.draw = take("dqkv_raw", m.qkv_width());
        pass.dgate_up = take("dgate_up", 2 * m.F), pass.dact = take("dswiglu", m.F);
        pass.row_dx = take("row_dx", m.C), pass.row_dy = take("row_dy", m.C);
        pass.dlogp = take_rows("dlogp"), pass.dentropy = take_rows("dentropy");
    }
    pass.rows = take_ids("rows", N), pass.target = take_ids("target", N);
    pass.row_x = take("row_x", m.C), pass.row_y = take("row_y", m.C),
    pass.row_s = take_rows("row_s");
    pass.row_value = arena.take("row_value", wide_dtype(dtype), {N, 1});
    pass.logp = take_rows("logp"), pass.entropy = take_rows("entropy"), pass.lse = take_rows("lse");
    pass.chunk = chunk_rows(N, pass.model);
    pass.logits = arena.take("logits", dtype, {pass.chunk, m.V});
}

static void grow(Pass& pass, int N, int S) {
    pass.arena.release();
    layout_pass(pass, pass.arena, N, S);
    pass.arena.allocate(pass.model.ops->alloc, pass.model.ops->free);
}

size_t pass_bytes(const Model& model, int tokens, int sequences, bool with_backward) {
    Pass pass(model, 0, 0, with_backward);
    Arena counting("activations");
    layout_pass(pass, counting, tokens, sequences);
    return counting.high_water;
}

Pass::Pass(const Model& model_, int max_tokens, int max_sequences, bool with_backward_)
    : model(model_), with_backward(with_backward_) {
    if (max_tokens > 0) grow(*this, max_tokens, max_sequences);
}

// Lays the tensors out for this batch and uploads it.
void bind_batch(Pass& pass, const HostBatch& batch) {
    const int N = batch.tokens(), S = batch.sequences();
    CHECK(N > 0, "a batch without tokens");
    Arena needed("activations");
    layout_pass(pass, needed, N, S);
    if (needed.high_water > pass.arena.capacity) grow(pass, N, S);
    pass.arena.rewind(0);
    layout_pass(pass, pass.arena, N, S);
    pass.N = N, pass.kept = {};

    std::vector<int32_t> position(N);
    int longest = 0;
    for (int s = 0; s < S; ++s) {
        int before = 0;
        if (int parent = batch.parent[s]; parent >= 0)
            before = batch.begin[parent + 1] - batch.begin[parent];
        for (int n = batch.begin[s]; n < batch.begin[s + 1]; ++n)
            position[n] = before + n - batch.begin[s];
        longest = std::max(longest, before + batch.begin[s + 1] - batch.begin[s]);
    }
    CHECK(longest <= pass.model.config.max_positions,
          "a sequence of %d tokens is longer than the model's context of %d", longest,
          pass.model.config.max_positions);
    for (int32_t id : batch.ids)
        CHECK(id >= 0 && id < pass.model.config.V, "token id %d is outside the vocabulary of %d",
              id, pass.model.config.V);
    pass.ragged.sequences = S, pass.ragged.max_length = longest;
    const Ops& ops = *pass.model.ops;
    ops.upload(pass.ids, batch.ids.data());
    ops.upload(pass.ragged.begin, batch.begin.data());
    ops.upload(pass.ragged.prefix, batch.prefix.data());
    ops.upload(pass.ragged.parent, batch.parent.data());
    ops.upload(pass.ragged.position, position.data());
}
