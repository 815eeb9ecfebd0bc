// The forward pass: the architecture figure from bottom to top. backward.cpp is this list reversed.
//
//   x = embedding[ids],  y1 = norm1(x)
//   per layer:  x2 = x + W_out attention(rope(W_qkv norm1(x)))   pre-norm residual blocks
//               x  = x2 + W_down swiglu(W_gate_up norm2(x2))     [Touvron et al. 2023, sect. 2.2]
//   heads.cpp:  logits = W_lm norm(x)
//
// N rows, C channels, H query heads and K key/value heads of width D, F feed-forward width (ops.h).

#include "model/pass.h"

void norm1_forward(const Model& model, int l, LayerActs& acts) {
    model.ops->rmsnorm_forward(acts.y1, acts.s1, acts.x, model.params.layer[l].norm1,
                               model.config.norm_eps);
}

void layer_forward(const Model& model, int l, LayerActs& acts, Tensor branch,
                   const std::function<void()>& attend) {
    const Ops& ops = *model.ops;
    const ModelConfig& m = model.config;
    const LayerParams& p = model.params.layer[l];

    // qkv = W_qkv y1 + bias                (N, C) -> (N, (H+2K) D)
    if (m.head_norm) {
        ops.linear_forward(acts.raw, acts.y1, p.qkv, p.qkv_bias);
        ops.head_norm_forward(acts.qkv, acts.raw_s, acts.raw, p.q_norm, p.k_norm, m.H, m.K,
                              m.norm_eps);
    } else {
        ops.linear_forward(acts.qkv, acts.y1, p.qkv, p.qkv_bias);
    }

    // qkv = rope(qkv)                      (N, (H+2K) D), in place
    // att = attention(qkv)                 (N, (H+2K) D) -> (N, H D)
    attend();

    // branch = W_out att                   (N, H D) -> (N, C)
    ops.linear_forward(branch, acts.att, p.out, {});

    // x2 = x + branch,  y2 = norm2(x2)     (N, C)
    ops.residual_rmsnorm_forward(acts.x2, acts.y2, acts.s2, acts.x, branch, p.norm2, m.norm_eps);

    // gate_up = W_gate_up y2               (N, C) -> (N, 2F)
    ops.linear_forward(acts.gate_up, acts.y2, p.gate_up, {});

    // act = swiglu(gate_up)                (N, 2F) -> (N, F)
    ops.swiglu_forward(acts.act, acts.gate_up);

    // branch = W_down act                  (N, F) -> (N, C)
    ops.linear_forward(branch, acts.act, p.down, {});
}

static void trunk_forward(const Model& model, TrunkRows& rows, Tensor branch, Tensor ids,
                          const std::function<void(int l, LayerActs& acts)>& attend) {
    const Ops& ops = *model.ops;
    const int L = model.config.L;

    // x = embedding[ids]                   (N) -> (N, C)
    ops.embedding_forward(rows.layer[0].x, model.params.embedding.w, ids);

    // y1 = norm1(x)                        (N, C)
    norm1_forward(model, 0, rows.layer[0]);

    for (int l = 0; l + 1 < L; ++l) {
        LayerActs &acts = rows.layer[l], &next = rows.layer[l + 1];
        layer_forward(model, l, acts, branch, [&] { attend(l, acts); });

        // x = x2 + branch,  y1 = norm1(x)  (N, C), of the next layer
        ops.residual_rmsnorm_forward(next.x, next.y1, next.s1, acts.x2, branch,
                                     model.params.layer[l + 1].norm1, model.config.norm_eps);
    }
    LayerActs& last = rows.layer[L - 1];
    layer_forward(model, L - 1, last, branch, [&] { attend(L - 1, last); });

    // hidden = x2 + branch                 (N, C)
    ops.residual_forward(rows.hidden, last.x2, branch);
}

// ---- over a batch ---------------------------------------------------------------------------------

void attend_in_batch(Pass& pass, LayerActs& acts, const std::function<void(Tensor qkv)>& on_qkv) {
    const Model& model = pass.model;
    const ModelConfig& m = model.config;
    model.ops->rope_forward(acts.qkv, pass.ragged.position, model.rope_table, m.H, m.K);
    if (on_qkv) on_qkv(acts.qkv);
    model.ops->attention_forward(acts.att, acts.lse, acts.qkv, pass.ragged, m.H, m.K,
                                 attention_scale(m));
}

void forward(Pass& pass, const HostBatch& batch, const TrunkRows* to,
             const std::function<void(int layer, Tensor qkv)>& on_qkv) {
    bind_batch(pass, batch);
    TrunkRows rows = to ? *to : TrunkRows{pass.layer, pass.hidden};
    trunk_forward(pass.model, rows, pass.branch, pass.ids, [&](int l, LayerActs& acts) {
        attend_in_batch(pass, acts, [&](Tensor qkv) {
            if (on_qkv) on_qkv(l, qkv);
        });
    });
}

// ---- over a cache ---------------------------------------------------------------------------------

bool in_few_launches(const Model& model, int64_t rows) {
    const ModelConfig& m = model.config;
    return rows > 0 && rows <= model.ops->few_rows && !m.head_norm && m.D % 16 == 0 &&
           m.C % 8 == 0 && m.F % 8 == 0 && m.V % 8 == 0;
}

// The figure again, in the launches that ops.h has for few rows.
static void trunk_decode_few(const Model& model, TrunkRows& rows, const CacheStep& step,
                             std::vector<KvCache>& cache) {
    const Ops& ops = *model.ops;
    const ModelConfig& m = model.config;
    ops.embedding_forward(rows.layer[0].x, model.params.embedding.w, step.ids);
    for (int l = 0; l < m.L; ++l) {
        const LayerParams& p = model.params.layer[l];
        LayerActs& acts = rows.layer[l];
        Tensor next = l + 1 < m.L ? rows.layer[l + 1].x : rows.hidden;

        // qkv = rope(W_qkv norm1(x) + bias), att = attention(qkv)
        ops.norm_qkv(acts.qkv, cache[l], acts.x, p.norm1, p.qkv, p.qkv_bias, step.position,
                     model.rope_table, step.slot, m.H, m.K, m.norm_eps);
        ops.decode_attention(acts.att, {}, acts.qkv, cache[l], step.pages, step.length, m.H, m.K,
                             attention_scale(m));

        // x2 = x + W_out att
        ops.linear_residual(acts.x2, acts.x, acts.att, p.out);

        // x = x2 + W_down swiglu(W_gate_up norm2(x2)), of the next layer
        ops.norm_swiglu(acts.act, acts.x2, p.norm2, p.gate_up, m.norm_eps);
        ops.linear_residual(next, acts.x2, acts.act, p.down);
    }
}

void trunk_decode(const Model& model, TrunkRows& rows, Tensor branch, const CacheStep& step,
                  std::vector<KvCache>& cache) {
    const Ops& ops = *model.ops;
    const ModelConfig& m = model.config;
    if (in_few_launches(model, step.ids.shape[0]))
        return trunk_decode_few(model, rows, step, cache);
    trunk_forward(model, rows, branch, step.ids, [&](int l, LayerActs& acts) {
        if (ops.rope_write) {
            ops.rope_write(cache[l], acts.qkv, step.position, model.rope_table, step.slot, m.H,
                           m.K);
        } else {
            ops.rope_forward(acts.qkv, step.position, model.rope_table, m.H, m.K);
            ops.kv_write(cache[l], acts.qkv, step.slot, m.H, m.K);
        }
        // A recording's statistic; on a GPU, which records nothing, there is none.
        const Tensor lse = model.compute.gpu ? Tensor{} : acts.lse;
        ops.decode_attention(acts.att, lse, acts.qkv, cache[l], step.pages, step.length, m.H, m.K,
                             attention_scale(m));
    });
}
