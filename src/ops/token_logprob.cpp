// Log-probability and entropy of one token per row of logits.

#include "ops/install.h"
#include "ops/row_softmax.h"

namespace cpu {

template <class T>
static void token_logprob_forward(Tensor logp, Tensor entropy, Tensor lse, Tensor logits,
                                  Tensor target, double temperature) {
    const char* op = "token_logprob_forward";
    int64_t R = logits.shape[0], V = logits.shape[1];
    T* logp_r = arg<T>(op, "logp", logp, {R});
    T* entropy_r = optional_arg<T>(op, "entropy", entropy, {R});
    T* lse_r = arg<T>(op, "lse", lse, {R});
    const T* z = arg<T>(op, "logits", logits, {R, V});
    const int32_t* target_r = arg<int32_t>(op, "target", target, {R});
    CHECK(temperature > 0, "%s: the temperature must be above 0, not %g", op, temperature);
    const T inverse = 1 / temperature;
#pragma omp parallel for schedule(dynamic) if (R * V > 1 << 14)
    for (int64_t r = 0; r < R; ++r) {
        const T* zr = z + r * V;
        RowSoftmax<T> row = row_softmax(zr, V, inverse, entropy_r != nullptr);
        logp_r[r] = row.logp(zr[target_r[r]] * inverse);
        lse_r[r] = (T)row.log_sum();
        if (entropy_r) entropy_r[r] = row.entropy();
    }
}

template <class T>
static void token_logprob_backward(Tensor logits, Tensor dlogp, Tensor dentropy, Tensor entropy,
                                   Tensor lse, Tensor target, double temperature) {
    const char* op = "token_logprob_backward";
    int64_t R = logits.shape[0], V = logits.shape[1];
    T* z = arg<T>(op, "logits", logits, {R, V});
    const T* dlogp_r = arg<T>(op, "dlogp", dlogp, {R});
    const T* dentropy_r = optional_arg<T>(op, "dentropy", dentropy, {R});
    const T* entropy_r = optional_arg<T>(op, "entropy", entropy, {R});
    const T* lse_r = arg<T>(op, "lse", lse, {R});
    const int32_t* target_r = arg<int32_t>(op, "target", target, {R});
    CHECK(temperature > 0, "%s: the temperature must be above 0, not %g", op, temperature);
    CHECK(!dentropy_r == !entropy_r, "%s: dentropy and entropy go together", op);
    const T inverse = 1 / temperature;
#pragma omp parallel for schedule(dynamic) if (R * V > 1 << 14)
    for (int64_t r = 0; r < R; ++r) {
        T* zr = z + r * V;
        const T of_p = -inverse * dlogp_r[r], l = lse_r[r];
        if (!dentropy_r || dentropy_r[r] == 0) {
            for_vectors<T>(V, [&](int64_t v, int n) {
                store<T>(zr + v, of_p * softmax_terms(zr + v, n, inverse, l), n);
            });
        } else {
            const T of_entropy = -inverse * dentropy_r[r], e = entropy_r[r];
            for_vectors<T>(V, [&](int64_t v, int n) {
                Vec<T> logp_v = fma(load(zr + v, n), broadcast(inverse), broadcast(-l));
                Vec<T> p = softmax_terms(zr + v, n, inverse, l);
                Vec<T> plogp = p > T(0) ? p * (logp_v + e) : p; // 0 log 0 = 0
                store<T>(zr + v, fma(broadcast(of_entropy), plogp, of_p * p), n);
            });
        }
        zr[target_r[r]] -= of_p;
    }
}

template <class T> void install_token_logprob(Ops& ops) {
    ops.token_logprob_forward = token_logprob_forward<T>;
    ops.token_logprob_backward = token_logprob_backward<T>;
}
template void install_token_logprob<float>(Ops&);
template void install_token_logprob<double>(Ops&);

} // namespace cpu
