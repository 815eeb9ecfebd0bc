// Log-probability and entropy of one token per row of logits: forward reads the logits once.

#include "row_softmax.cuh"

namespace gpu {

template <class T, int W>
__global__ void __launch_bounds__(row_threads, 4)
    token_logprob_forward_kernel(float* __restrict__ logp, float* __restrict__ entropy,
                                 float* __restrict__ lse, const T* __restrict__ logits,
                                 const int* __restrict__ target, int V, float inverse_temperature) {
    const int r = blockIdx.x;
    const T* z = logits + (int64_t)r * V;
    const RowSoftmax row = row_softmax<W>(z, V, inverse_temperature);
    if (threadIdx.x != 0) return;
    logp[r] = row.logp(to_float(z[target[r]]) * inverse_temperature);
    lse[r] = row.log_sum();
    if (entropy) entropy[r] = row.entropy();
}

// Block (x, y): elements x * 256 W ... of row y.
template <class T, int W>
__global__ void __launch_bounds__(256)
    token_logprob_backward_kernel(T* __restrict__ logits, const float* __restrict__ dlogp,
                                  const float* __restrict__ dentropy,
                                  const float* __restrict__ entropy, const float* __restrict__ lse,
                                  const int* __restrict__ target, int V,
                                  float inverse_temperature) {
    const int r = blockIdx.y, v = (blockIdx.x * 256 + threadIdx.x) * W;
    if (v >= V) return;
    T* z = logits + (int64_t)r * V + v;
    const float of_p = -inverse_temperature * dlogp[r], l = lse[r];
    const float of_entropy = dentropy ? -inverse_temperature * dentropy[r] : 0;
    const float e = entropy ? entropy[r] : 0;
    const int at = target[r] - v;
    Floats<W> x = load<W>(z);
    UNROLL for (int i = 0; i < W; ++i) {
        const float logp_v = x.v[i] * inverse_temperature - l, p = expf(logp_v);
        float dz = of_p * p;
        if (of_entropy != 0 && !(p == 0)) dz += of_entropy * p * (logp_v + e); // 0 log 0 = 0
        x.v[i] = i == at ? dz - of_p : dz;
    }
    store(z, x);
}

template <class T>
static void token_logprob_forward(Tensor logp_, Tensor entropy_, Tensor lse_, Tensor logits_,
                                  Tensor target_, double temperature) {
    const char* op = "token_logprob_forward";
    const int64_t R = logits_.shape[0], V = logits_.shape[1];
    float* logp = arg<float>(op, "logp", logp_, {R});
    float* entropy = optional_arg<float>(op, "entropy", entropy_, {R});
    float* lse = arg<float>(op, "lse", lse_, {R});
    const T* logits = arg<T>(op, "logits", logits_, {R, V});
    const int* target = arg<int>(op, "target", target_, {R});
    CHECK(temperature > 0, "%s: the temperature must be above 0, not %g", op, temperature);
    with_width(V % full_width == 0 && is_aligned(logits), [&](auto W) {
        launch(op, token_logprob_forward_kernel<T, W>, (unsigned)R, row_threads, 0, logp, entropy,
               lse, logits, target, (int)V, (float)(1 / temperature));
    });
}

template <class T>
static void token_logprob_backward(Tensor logits_, Tensor dlogp_, Tensor dentropy_, Tensor entropy_,
                                   Tensor lse_, Tensor target_, double temperature) {
    const char* op = "token_logprob_backward";
    const int64_t R = logits_.shape[0], V = logits_.shape[1];
    T* logits = arg<T>(op, "logits", logits_, {R, V});
    const float* dlogp = arg<float>(op, "dlogp", dlogp_, {R});
    const float* dentropy = optional_arg<float>(op, "dentropy", dentropy_, {R});
    const float* entropy = optional_arg<float>(op, "entropy", entropy_, {R});
    const float* lse = arg<float>(op, "lse", lse_, {R});
    const int* target = arg<int>(op, "target", target_, {R});
    CHECK(temperature > 0, "%s: the temperature must be above 0, not %g", op, temperature);
    CHECK(!dentropy == !entropy, "%s: dentropy and entropy go together", op);
    CHECK(R <= 65535, "%s: %lld rows in one chunk; at most 65535", op, (long long)R);
    with_width(V % full_width == 0 && is_aligned(logits), [&](auto W) {
        launch(op, token_logprob_backward_kernel<T, W>,
               dim3((unsigned)ceil_div(V, 256 * W), (unsigned)R), 256, 0, logits, dlogp, dentropy,
               entropy, lse, target, (int)V, (float)(1 / temperature));
    });
}

template <class T> void install_token_logprob(Ops& ops) {
    ops.token_logprob_forward = token_logprob_forward<T>;
    ops.token_logprob_backward = token_logprob_backward<T>;
}
template void install_token_logprob<float>(Ops&);
template void install_token_logprob<bf16>(Ops&);

} // namespace gpu
