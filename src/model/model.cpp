// The model's memory: weights and the rope table.

#include "model/model.h"

#include "ops/values.h"

#include <algorithm>
#include <cmath>

// Rope's angles per position [Su et al. 2021, section 3.4.2], with Llama 3.1's scaling: wave
// lengths beyond original / low_freq_factor are stretched by `factor`, short ones left alone, in
// between smoothed. In f32 the angle is rounded to f32 before the cosine is taken, as transformers
// and vLLM do it: at position 4000 the difference to the exact angle is 1e-4, and logits are
// compared with theirs.
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
    std::vector<double> table((size_t)m.max_positions * m.D);
    for (int p = 0; p < m.max_positions; ++p)
        for (int i = 0; i < half; ++i) {
            double angle = f32 ? (double)((float)p * (float)inv_freq[i]) : p * inv_freq[i];
            table[(size_t)p * m.D + i] = std::cos(angle);
            table[(size_t)p * m.D + half + i] = std::sin(angle);
        }
    upload_values(*model.ops, model.rope_table, table);
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
