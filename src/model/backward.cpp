// The backward pass: forward.cpp reversed, one stanza per line of it. pass.dx is the gradient of
// the residual stream all the way down: a residual sum hands it on to both of its terms, so that a
// branch reads dx as the gradient of its output and its norm adds the branch's share to dx.
//
// Only attention mixes rows. What lies on either side of it goes block by block, so that on a CPU
// what one op leaves is still in the cache when the next one reads it, and gradients in flight are
// as long as a block.
//
// What has one term is written, not added to: gradients in flight, and in a step's first micro-batch
// (`first`) those of the layers' weights, by the first block.

#include "model/backward.h"

#include <algorithm>

void begin_backward(Pass& pass) { pass.model.ops->fill_zero(pass.dx); }

static void after_attention_backward(Pass& pass, int l, const LayerParams& g, bool add, int first,
                                     int count) {
    const Model& model = pass.model;
    const Ops& ops = *model.ops;
    const LayerParams& p = model.params.layer[l];
    const LayerActs acts = pass.layer[l].rows(model.config, first, count);
    Tensor dx = pass.dx.rows(first, count), datt = pass.datt.rows(first, count);
    Tensor dact = pass.dact.rows(0, count), dgate_up = pass.dgate_up.rows(0, count),
           dy = pass.dy.rows(0, count);

    // x' = x2 + W_down act
    ops.linear_backward(written(dact), {g.down.w, add}, {}, dx, acts.act, p.down);

    // act = swiglu(gate_up)
    ops.swiglu_backward(written(dgate_up), dact, acts.gate_up);

    // gate_up = W_gate_up y2
    ops.linear_backward(written(dy), {g.gate_up.w, add}, {}, dgate_up, acts.y2, p.gate_up);

    // y2 = norm2(x2)
    ops.rmsnorm_backward(dx, {g.norm2, add}, acts.s2, dy, acts.x2, p.norm2);

    // x2 = x + W_out att
    ops.linear_backward(written(datt), {g.out.w, add}, {}, dx, acts.att, p.out);
}

static void before_attention_backward(Pass& pass, int l, const LayerParams& g, bool add, int first,
                                      int count) {
    const Model& model = pass.model;
    const Ops& ops = *model.ops;
    const ModelConfig& m = model.config;
    const LayerParams& p = model.params.layer[l];
    const LayerActs acts = pass.layer[l].rows(model.config, first, count);
    Tensor dx = pass.dx.rows(first, count), dqkv = pass.dqkv.rows(first, count);
    Tensor dy = pass.dy.rows(0, count);

    // qkv = rope(qkv)
    ops.rope_backward(dqkv, pass.ragged.position.rows(first, count), model.rope_table, m.H, m.K);

    // qkv = head_norm(raw)
    Tensor draw = dqkv;
    if (m.head_norm) {
        draw = pass.draw.rows(0, count);
        ops.head_norm_backward(written(draw), {g.q_norm, add}, {g.k_norm, add}, acts.raw_s, dqkv,
                               acts.raw, p.q_norm, p.k_norm, m.H, m.K);
    }

    // raw = W_qkv y1 + bias
    ops.linear_backward(written(dy), {g.qkv.w, add}, {g.qkv_bias, add}, draw, acts.y1, p.qkv);

    // y1 = norm1(x)
    ops.rmsnorm_backward(dx, {g.norm1, add}, acts.s1, dy, acts.x, p.norm1);
}

static void layer_backward(Pass& pass, int l, const LayerParams& g, bool add,
                           const std::function<void(int layer, Tensor dqkv)>& on_dqkv) {
    const ModelConfig& m = pass.model.config;
    const LayerActs& acts = pass.layer[l];
    const int block = (int)pass.dy.shape[0];
    for (int first = 0; first < pass.N; first += block)
        after_attention_backward(pass, l, g, add || first > 0, first,
                                 std::min(block, pass.N - first));

    // att = attention(qkv)
    pass.model.ops->attention_backward(written(pass.dqkv), pass.datt, acts.att, acts.lse, acts.qkv,
                                       pass.ragged, m.H, m.K, attention_scale(m));
    if (on_dqkv) on_dqkv(l, pass.dqkv);

    for (int first = 0; first < pass.N; first += block)
        before_attention_backward(pass, l, g, add || first > 0, first,
                                  std::min(block, pass.N - first));
}

void backward(Pass& pass, const Params& grads, bool first) { backward(pass, grads, first, {}); }

void backward(Pass& pass, const Params& grads, bool first,
              const std::function<void(int layer, Tensor dqkv)>& on_dqkv) {
    const Model& model = pass.model;
    const Ops& ops = *model.ops;
    const ModelConfig& m = model.config;
    for (int l = m.L - 1; l >= 0; --l) {
        LayerActs& acts = pass.layer[l];
        // Only x was kept: run the layer again. The last one's values are still there.
        if (model.compute.recompute && l < m.L - 1) {
            norm1_forward(model, l, acts);
            layer_forward(model, l, acts, pass.branch, [&] { attend_in_batch(pass, acts); });
        }
        layer_backward(pass, l, grads.layer[l], !first, on_dqkv);
    }

    // x = embedding[ids]
    ops.embedding_backward(grads.embedding.w, pass.dx, pass.ids);
}
