// A pass's memory: which tensors it has, how large they are, and the batch that is bound to them.

#include "model/pass.h"

#include <algorithm>

int HostBatch::add(const int32_t* first, int count, int prefix_length, int parent_sequence) {
    ids.insert(ids.end(), first, first + count);
    begin.push_back((int)ids.size());
    prefix.push_back(prefix_length);
    parent.push_back(parent_sequence);
    return sequences() - 1;
}

// A chunk of logits takes up to 512 MiB. The sum over chunks into the LM head's gradient reads and
// writes all of it once per chunk: with a vocabulary of 152,000 and 220 rows a chunk that would be
// a quarter of a training step on a GPU (rlhf bench train bench.card=H100). And logits that are one
// chunk are computed once for logp and backward (heads.cpp). On a GPU a chunk takes up to 1.25 GiB, and
// all have about as many rows, a multiple of the products' tiles.
static int chunk_rows(int64_t N, const Model& model) {
    const int64_t bytes = model.compute.gpu ? (int64_t)1280 << 20 : 512 << 20;
    const int64_t width = model.config.V * (int64_t)dtype_bytes(model.compute.dtype);
    const int64_t most = std::max<int64_t>(64, bytes / width);
    if (N <= most || !model.compute.gpu) return (int)std::min(N, most);
    const int64_t chunks = (N + most - 1) / most, tile = 256;
    return (int)std::min(N, ((N + chunks - 1) / chunks + tile - 1) / tile * tile);
}

LayerActs LayerActs::rows(const ModelConfig& m, int first, int count) const {
    LayerActs part = *this;
    each_act(part, m, [&](const char*, Tensor& tensor, int64_t, bool) {
        if (tensor) tensor = tensor.rows(first, count);
    });
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
    Tensor act(const std::string& name, int64_t width, bool statistic) const {
        if (!statistic) return values(name, width);
        return width ? wide(name, width) : wide(name);
    }
    Tensor ids(const std::string& name) const {
        return arena.take(name, DType::i32, {room}).rows(0, N);
    }
};

// Rows of a block of the backward pass. On a CPU its widest gradient takes 6 MiB, but 512 rows are
// enough work for the sum into a weight's gradient, which is read and written once per block.
static int64_t block_rows(int64_t N, const Model& model) {
    const int64_t row_bytes = 2 * model.config.F * (int64_t)dtype_bytes(model.compute.dtype);
    return model.compute.gpu ? N : std::min(N, std::max<int64_t>(512, (6 << 20) / row_bytes));
}

static void layout_pass(Pass& pass, Arena& arena, int64_t N, int64_t S, const Room& room) {
    const ModelConfig& m = pass.model.config;
    const DType dtype = pass.model.compute.dtype;
    const RowTaker token{arena, dtype, N, std::max<int64_t>(N, room.rows)};
    const RowTaker sequence{arena, dtype, S, std::max<int64_t>(S, room.sequences)};
    const int64_t R = std::max<int64_t>(token.room, room.listed);
    const RowTaker listed{arena, dtype, R, R};
    pass.ids = token.ids("ids");
    pass.ragged.begin = RowTaker{arena, dtype, S + 1, sequence.room + 1}.ids("begin");
    pass.ragged.prefix = sequence.ids("prefix"), pass.ragged.parent = sequence.ids("parent");
    pass.ragged.position = token.ids("position"), pass.ragged.row = token.ids("row");

    pass.layer.resize(m.L);
    const bool keep_all = pass.with_backward && !pass.model.compute.recompute;
    for (int l = 0; l < m.L; ++l) {
        LayerActs& acts = pass.layer[l];
        const std::string layer = "layer" + std::to_string(l) + ".";
        if (l > 0 && !keep_all) acts = pass.layer[0];
        each_act(acts, m, [&](const char* name, Tensor& x, int64_t width, bool statistic) {
            const bool own = l == 0 || keep_all || (pass.with_backward && &x == &acts.x);
            if (own) x = token.act(layer + name, width, statistic);
        });
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

static void grow(Pass& pass, int N, int S, const Room& room) {
    pass.arena.release();
    layout_pass(pass, pass.arena, N, S, room);
    pass.arena.allocate(pass.model.ops->alloc, pass.model.ops->free);
}

size_t pass_bytes(const Model& model, int tokens, int sequences, bool with_backward) {
    Pass pass(model, 0, 0, with_backward);
    Arena counting("activations");
    layout_pass(pass, counting, tokens, sequences, {});
    return counting.high_water;
}

Pass::Pass(const Model& model_, int max_tokens, int max_sequences, bool with_backward_)
    : model(model_), with_backward(with_backward_) {
    if (max_tokens > 0) grow(*this, max_tokens, max_sequences, {});
}

void lay_out(Pass& pass, int N, int S, const Room& room) {
    Arena needed("activations");
    layout_pass(pass, needed, N, S, room);
    if (needed.high_water > pass.arena.capacity) grow(pass, N, S, room);
    pass.arena.rewind(0);
    layout_pass(pass, pass.arena, N, S, room);
    pass.N = N;
    ++pass.layouts;
    ++pass.logits_writes;
}

void bind_batch(Pass& pass, const HostBatch& batch, const Room& room) {
    const int N = batch.tokens(), S = batch.sequences();
    CHECK(N > 0, "a batch without tokens");
    CHECK(batch.row.empty() || (int)batch.row.size() == N, "%zu places for %d tokens",
          batch.row.size(), N);
    lay_out(pass, N, S, room);
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
