// The forward pass: the architecture figure from bottom to top. backward.cpp is this list reversed.
//
//   x = embedding[ids]
//   per layer:  x2 = x + W_out attention(rope(W_qkv norm1(x)))      pre-norm residual blocks
//               x  = x2 + W_down swiglu(W_gate_up norm2(x2))        [Touvron et al. 2023, section 2.2]
//   heads.cpp:  logits = W_lm norm(x)

#include "model/model.h"

#include <cmath>

void layer_forward(const Model& model, int l, LayerActs& acts, Tensor branch, Tensor position,
                   const std::function<void()>& attend) {
    const Ops& ops = *model.ops;
    const ModelConfig& m = model.config;
    const LayerParams& p = model.params.layer[l];

    ops.rmsnorm_forward(acts.y1, acts.s1, acts.x, p.norm1, m.norm_eps);

    if (m.head_norm) {
        ops.linear_forward(acts.raw, acts.y1, p.qkv, p.qkv_bias);
        ops.head_norm_forward(acts.qkv, acts.raw_s, acts.raw, p.q_norm, p.k_norm, m.H, m.K,
                              m.norm_eps);
    } else {
        ops.linear_forward(acts.qkv, acts.y1, p.qkv, p.qkv_bias);
    }

    ops.rope_forward(acts.qkv, position, model.rope_table, m.H, m.K);

    attend();

    ops.linear_forward(branch, acts.att, p.out, {});

    ops.residual_rmsnorm_forward(acts.x2, acts.y2, acts.s2, acts.x, branch, p.norm2, m.norm_eps);

    ops.linear_forward(acts.gate_up, acts.y2, p.gate_up, {});

    ops.swiglu_forward(acts.act, acts.gate_up);

    ops.linear_forward(branch, acts.act, p.down, {});
}

void trunk_forward(const Model& model, TrunkRows& rows, Tensor branch, Tensor ids, Tensor position,
                   const std::function<void(int l, LayerActs& acts)>& attend) {
    const Ops& ops = *model.ops;
    const int L = model.config.L;

    ops.embedding_forward(rows.layer[0].x, model.params.embedding.w, ids);

    for (int l = 0; l < L; ++l) {
        LayerActs& acts = rows.layer[l];
        layer_forward(model, l, acts, branch, position, [&] { attend(l, acts); });
        ops.residual_forward(l + 1 < L ? rows.layer[l + 1].x : rows.hidden, acts.x2, branch);
    }
}

// The batch is bound already.
static void forward_bound(Pass& pass, TrunkRows& to) {
    const Model& model = pass.model;
    const ModelConfig& m = model.config;
    const double scale = 1 / std::sqrt((double)m.D);
    trunk_forward(model, to, pass.branch, pass.ids, pass.ragged.position,
                  [&](int l, LayerActs& acts) {
                      if (pass.on_qkv) pass.on_qkv(l, acts.qkv);
                      model.ops->attention_forward(acts.att, acts.lse, acts.qkv, pass.ragged, m.H,
                                                   m.K, scale);
                  });
}

void forward_into(Pass& pass, const HostBatch& batch, TrunkRows& to) {
    pass.room = {};
    bind_batch(pass, batch);
    forward_bound(pass, to);
}

void forward(Pass& pass, const HostBatch& batch) {
    pass.room = {};
    bind_batch(pass, batch);
    TrunkRows own = {pass.layer, pass.hidden};
    forward_bound(pass, own);
}
