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

LayerActs LayerActs::rows(int first, int count) const {
    LayerActs part = *this;
    for (Tensor* acts : {&part.x, &part.y1, &part.s1, &part.raw, &part.raw_s, &part.qkv, &part.att,
                         &part.lse, &part.x2, &part.y2, &part.s2, &part.gate_up, &part.act})
        if (acts->data) *acts = acts->rows(first, count);
    return part;
}

// Takes tensors of N rows from an arena; `room` rows are set aside for each.
struct RowTaker {
    Arena& arena;
    DType dtype;
    int64_t N, room;
    Tensor values(const std::string& name, int64_t width) const {
        return arena.take(name, dtype, {room, width}).rows(0, N);
    }
    Tensor wide(const std::string& name) const {
        return arena.take(name, wide_dtype(dtype), {room}).rows(0, N);
    }
    Tensor wide(const std::string& name, int64_t width) const {
        return arena.take(name, wide_dtype(dtype), {room, width}).rows(0, N);
    }
    Tensor ids(const std::string& name) const {
        return arena.take(name, DType::i32, {room}).rows(0, N);
    }
};

// Rows of a block of the backward pass. On a CPU its widest gradient takes 6 MiB, but 512 rows are enough work for
// the sum into a weight's gradient, which is read and written once per block.
static int64_t block_rows(int64_t N, const Model& model) {
    const int64_t row_bytes = 2 * model.config.F * (int64_t)dtype_bytes(model.compute.dtype);
    return model.compute.gpu ? N : std::min(N, std::max<int64_t>(512, (6 << 20) / row_bytes));
}

static void layout_layer(LayerActs& acts, const ModelConfig& m, const RowTaker& take,
                         const std::string& name) {
    acts.y1 = take.values(name + "norm1", m.C), acts.s1 = take.wide(name + "norm1.s");
    if (m.head_norm) {
        acts.raw = take.values(name + "qkv_raw", m.qkv_width());
        acts.raw_s = take.wide(name + "qkv_raw.s", m.H + m.K);
    }
    acts.qkv = take.values(name + "qkv", m.qkv_width());
    acts.att = take.values(name + "attention", (int64_t)m.H * m.D);
    acts.lse = take.wide(name + "attention.lse", m.H);
    acts.x2 = take.values(name + "residual2", m.C);
    acts.y2 = take.values(name + "norm2", m.C), acts.s2 = take.wide(name + "norm2.s");
    acts.gate_up = take.values(name + "gate_up", 2 * m.F);
    acts.act = take.values(name + "swiglu", m.F);
}

static void layout_pass(Pass& pass, Arena& arena, int64_t N, int64_t S) {
    const ModelConfig& m = pass.model.config;
    const DType dtype = pass.model.compute.dtype;
    const RowTaker token{arena, dtype, N, std::max<int64_t>(N, pass.room.rows)};
    const RowTaker sequence{arena, dtype, S, std::max<int64_t>(S, pass.room.sequences)};
    const int64_t R = std::max<int64_t>(token.room, pass.room.listed);
    const RowTaker listed{arena, dtype, R, R};
    pass.ids = token.ids("ids");
    pass.ragged.begin = RowTaker{arena, dtype, S + 1, sequence.room + 1}.ids("begin");
    pass.ragged.prefix = sequence.ids("prefix"), pass.ragged.parent = sequence.ids("parent");
    pass.ragged.position = token.ids("position"), pass.ragged.row = token.ids("row");

    pass.layer.resize(m.L);
    const bool keep_all = pass.with_backward && !pass.model.compute.recompute;
    for (int l = 0; l < m.L; ++l) {
        LayerActs& acts = pass.layer[l];
        std::string name = "layer" + std::to_string(l) + ".";
        if (l > 0 && !keep_all) acts = pass.layer[0];
        if (l == 0 || pass.with_backward) acts.x = token.values(name + "residual", m.C);
        if (l == 0 || keep_all) layout_layer(acts, m, token, name);
    }
    pass.hidden = token.values("hidden", m.C), pass.branch = token.values("branch", m.C);
    if (pass.with_backward) {
        const RowTaker block{arena, dtype, block_rows(N, pass.model),
                             block_rows(token.room, pass.model)};
        pass.dx = token.values("dx", m.C), pass.dy = block.values("dy", m.C);
        pass.datt = token.values("dattention", (int64_t)m.H * m.D);
        pass.dqkv = token.values("dqkv", m.qkv_width());
        if (m.head_norm) pass.draw = block.values("dqkv_raw", m.qkv_width());
        pass.dgate_up = block.values("dgate_up", 2 * m.F);
        pass.dact = block.values("dswiglu", m.F);
        pass.row_dx = listed.values("row_dx", m.C), pass.row_dy = listed.values("row_dy", m.C);
        pass.dlogp = listed.wide("dlogp"), pass.dentropy = listed.wide("dentropy");
    }
    pass.rows = listed.ids("rows"), pass.target = listed.ids("target");
    pass.row_x = listed.values("row_x", m.C), pass.row_y = listed.values("row_y", m.C);
    pass.row_s = listed.wide("row_s"), pass.row_value = listed.wide("row_value", 1);
    pass.logp = listed.wide("logp"), pass.entropy = listed.wide("entropy");
    pass.lse = listed.wide("lse");
    pass.chunk = chunk_rows(R, pass.model);
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

void lay_out(Pass& pass, int N, int S) {
    Arena needed("activations");
    layout_pass(pass, needed, N, S);
    if (needed.high_water > pass.arena.capacity) grow(pass, N, S);
    pass.arena.rewind(0);
    layout_pass(pass, pass.arena, N, S);
    pass.N = N, pass.kept = {};
}

void bind_batch(Pass& pass, const HostBatch& batch) {
    const int N = batch.tokens(), S = batch.sequences();
    CHECK(N > 0, "a batch without tokens");
    CHECK(batch.row.empty() || (int)batch.row.size() == N, "%zu places for %d tokens",
          batch.row.size(), N);
    lay_out(pass, N, S);
    auto place = [&](int n) { return batch.row.empty() ? n : batch.row[n]; };

    std::vector<int32_t> ids(N), position(N);
    int longest = 0;
    for (int s = 0; s < S; ++s) {
        int before = 0;
        if (int parent = batch.parent[s]; parent >= 0)
            before = batch.begin[parent + 1] - batch.begin[parent];
        for (int n = batch.begin[s]; n < batch.begin[s + 1]; ++n)
            position[place(n)] = before + n - batch.begin[s];
        longest = std::max(longest, before + batch.begin[s + 1] - batch.begin[s]);
    }
    CHECK(longest <= pass.model.config.max_positions,
          "a sequence of %d tokens is longer than the model's context of %d", longest,
          pass.model.config.max_positions);
    for (int n = 0; n < N; ++n) {
        const int32_t id = ids[place(n)] = batch.ids[n];
        CHECK(id >= 0 && id < pass.model.config.V, "token id %d is outside the vocabulary of %d",
              id, pass.model.config.V);
    }
    pass.ragged.sequences = S, pass.ragged.max_length = longest;
    const Ops& ops = *pass.model.ops;
    ops.upload(pass.ids, ids.data());
    ops.upload(pass.ragged.begin, batch.begin.data());
    ops.upload(pass.ragged.prefix, batch.prefix.data());
    ops.upload(pass.ragged.parent, batch.parent.data());
    ops.upload(pass.ragged.position, position.data());
    if (batch.row.empty())
        pass.ragged.row = {};
    else
        ops.upload(pass.ragged.row, batch.row.data());
}
