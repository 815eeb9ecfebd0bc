// The backward pass: forward.cpp reversed, one stanza per line of it. pass.dx is the gradient of the
// residual stream all the way down: a residual sum hands it on to both of its terms, so that a branch
// reads dx as the gradient of its output and its norm adds the branch's share to dx.

#include "model/model.h"

#include <cmath>

void begin_backward(Pass& pass) { pass.model.ops->fill_zero(pass.dx); }

static void layer_backward(Pass& pass, int l, const LayerParams& g) {
    const Model& model = pass.model;
    const Ops& ops = *model.ops;
    const ModelConfig& m = model.config;
    const LayerParams& p = model.params.layer[l];
    const LayerActs& acts = pass.layer[l];
    const Ragged& ragged = pass.ragged;
    const double scale = 1 / std::sqrt((double)m.D);

    // x' = x2 + W_down act
    ops.fill_zero(pass.dact);
    ops.linear_backward(pass.dact, g.down.w, {}, pass.dx, acts.act, p.down);

    // act = swiglu(gate_up)
    ops.fill_zero(pass.dgate_up);
    ops.swiglu_backward(pass.dgate_up, pass.dact, acts.gate_up);

    // gate_up = W_gate_up y2
    ops.fill_zero(pass.dy);
    ops.linear_backward(pass.dy, g.gate_up.w, {}, pass.dgate_up, acts.y2, p.gate_up);

    // y2 = norm2(x2)
    ops.rmsnorm_backward(pass.dx, g.norm2, acts.s2, pass.dy, acts.x2, p.norm2);

    // x2 = x + W_out att
    ops.fill_zero(pass.datt);
    ops.linear_backward(pass.datt, g.out.w, {}, pass.dx, acts.att, p.out);

    // att = attention(qkv)
    ops.fill_zero(pass.dqkv);
    ops.attention_backward(pass.dqkv, pass.datt, acts.att, acts.lse, acts.qkv, ragged, m.H, m.K,
                           scale);

    // qkv = rope(qkv)
    ops.rope_backward(pass.dqkv, ragged.position, model.rope_table, m.H, m.K);

    // qkv = head_norm(raw)
    Tensor draw = pass.dqkv;
    if (m.head_norm) {
        draw = pass.draw;
        ops.fill_zero(draw);
        ops.head_norm_backward(draw, g.q_norm, g.k_norm, acts.raw_s, pass.dqkv, acts.raw, p.q_norm,
                               p.k_norm, m.H, m.K);
    }

    // raw = W_qkv y1 + bias
    ops.fill_zero(pass.dy);
    ops.linear_backward(pass.dy, g.qkv.w, g.qkv_bias, draw, acts.y1, p.qkv);

    // y1 = norm1(x)
    ops.rmsnorm_backward(pass.dx, g.norm1, acts.s1, pass.dy, acts.x, p.norm1);
}

void backward(Pass& pass, const Params& grads) {
    const Model& model = pass.model;
    const Ops& ops = *model.ops;
    const ModelConfig& m = model.config;
    const double scale = 1 / std::sqrt((double)m.D);
    for (int l = m.L - 1; l >= 0; --l) {
        LayerActs& acts = pass.layer[l];
        // Only x was kept: run the layer again. The last one's values are still there.
        if (model.compute.recompute && l < m.L - 1)
            layer_forward(model, l, acts, pass.branch, pass.ragged.position, [&] {
                ops.attention_forward(acts.att, acts.lse, acts.qkv, pass.ragged, m.H, m.K, scale);
            });
        layer_backward(pass, l, grads.layer[l]);
    }

    // x = embedding[ids]
    ops.embedding_backward(grads.embedding.w, pass.dx, pass.ids);
}
