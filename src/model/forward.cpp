// The forward pass: the architecture figure from bottom to top. backward.cpp is this list reversed.
//
//   x = embedding[ids]
//   per layer:  x2 = x + W_out attention(rope(W_qkv norm1(x)))   pre-norm residual blocks
//               x  = x2 + W_down swiglu(W_gate_up norm2(x2))     [Touvron et al. 2023, sect. 2.2]
//   heads.cpp:  logits = W_lm norm(x)
//
// N rows, C channels, H query heads and K key/value heads of width D, F feed-forward width (ops.h).

#include "model/pass.h"

void layer_forward(const Model& model, int l, LayerActs& acts, Tensor branch, Tensor position,
                   const std::function<void()>& attend) {
    const Ops& ops = *model.ops;
    const ModelConfig& m = model.config;
    const LayerParams& p = model.params.layer[l];

    // y1 = norm1(x)                        (N, C)
    ops.rmsnorm_forward(acts.y1, acts.s1, acts.x, p.norm1, m.norm_eps);

    // qkv = W_qkv y1 + bias                (N, C) -> (N, (H+2K) D)
    if (m.head_norm) {
        ops.linear_forward(acts.raw, acts.y1, p.qkv, p.qkv_bias);
        ops.head_norm_forward(acts.qkv, acts.raw_s, acts.raw, p.q_norm, p.k_norm, m.H, m.K,
                              m.norm_eps);
    } else {
        ops.linear_forward(acts.qkv, acts.y1, p.qkv, p.qkv_bias);
    }

    // qkv = rope(qkv)                      (N, (H+2K) D), in place
    ops.rope_forward(acts.qkv, position, model.rope_table, m.H, m.K);

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

void trunk_forward(const Model& model, TrunkRows& rows, Tensor branch, Tensor ids, Tensor position,
                   const std::function<void(int l, LayerActs& acts)>& attend) {
    const Ops& ops = *model.ops;
    const int L = model.config.L;

    // x = embedding[ids]                   (N) -> (N, C)
    ops.embedding_forward(rows.layer[0].x, model.params.embedding.w, ids);

    for (int l = 0; l < L; ++l) {
        LayerActs& acts = rows.layer[l];
        layer_forward(model, l, acts, branch, position, [&] { attend(l, acts); });

        // x = x2 + branch                  (N, C), of the next layer
        ops.residual_forward(l + 1 < L ? rows.layer[l + 1].x : rows.hidden, acts.x2, branch);
    }
}

void forward(Pass& pass, const HostBatch& batch, const TrunkRows* to,
             const std::function<void(int layer, Tensor qkv)>& on_qkv) {
    const Model& model = pass.model;
    const ModelConfig& m = model.config;
    bind_batch(pass, batch);
    TrunkRows rows = to ? *to : TrunkRows{pass.layer, pass.hidden};
    trunk_forward(model, rows, pass.branch, pass.ids, pass.ragged.position,
                  [&](int l, LayerActs& acts) {
                      if (on_qkv) on_qkv(l, acts.qkv);
                      model.ops->attention_forward(acts.att, acts.lse, acts.qkv, pass.ragged, m.H,
                                                   m.K, attention_scale(m));
                  });
}
