// AdamW on f32 masters, together with the weights that the network reads; and the sum of squares by which
// gradients are clipped. Both are bound by memory: 8 elements per thread are 8 loads in flight.

#include "device.cuh"

#include <cmath>

namespace gpu {

struct AdamConstants { // those of the CPU op, computed in double
    float b1, b2, c1, c2, scale, step, root, eps, decay;

    __device__ __forceinline__ void update(float& p, float& m, float& v, float g) const {
        g *= scale;
        m = b1 * m + c1 * g;
        v = b2 * v + c2 * g * g;
        p = p - step * m / (sqrtf(v) * root + eps) - decay * p;
    }
};

template <class T, int W>
__global__ void __launch_bounds__(256)
    adamw_kernel(float* __restrict__ p, T* __restrict__ rounded, float* __restrict__ m,
                 float* __restrict__ v, const float* __restrict__ g, int64_t size,
                 AdamConstants constants) {
    const int64_t at = ((int64_t)blockIdx.x * 256 + threadIdx.x) * W;
    if (at + W <= size) {
        Floats<W> pw = load<W>(p + at), mw = load<W>(m + at), vw = load<W>(v + at);
        const Floats<W> gw = load<W>(g + at);
        UNROLL for (int i = 0; i < W; ++i) constants.update(pw.v[i], mw.v[i], vw.v[i], gw.v[i]);
        store(p + at, pw);
        store(m + at, mw);
        store(v + at, vw);
        if (rounded) store(rounded + at, pw);
    } else { // what is left over after the last full vector
        for (int64_t i = at; i < size; ++i) {
            float pi = p[i], mi = m[i], vi = v[i];
            constants.update(pi, mi, vi, g[i]);
            p[i] = pi, m[i] = mi, v[i] = vi;
            if (rounded) rounded[i] = from_float<T>(pi);
        }
    }
}

// Block b leaves the sum of squares of its stretch in partial_b: in f64, like all that follows.
constexpr int sumsq_stretch = 1 << 14;
template <int W>
__global__ void __launch_bounds__(256)
    sumsq_kernel(double* __restrict__ partial, const float* __restrict__ x, int64_t size) {
    const int64_t first = (int64_t)blockIdx.x * sumsq_stretch,
                  last = min(size, first + sumsq_stretch);
    double sum = 0;
    UNROLL_BY(2) for (int64_t at = first + threadIdx.x * W; at < last; at += 256 * W) {
        if (at + W <= last) {
            const Floats<W> v = load<W>(x + at);
            UNROLL for (int i = 0; i < W; ++i) sum += (double)v.v[i] * v.v[i];
        } else {
            for (int64_t i = at; i < last; ++i) sum += (double)x[i] * x[i];
        }
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(1024)
    add_partials_kernel(double* out, const double* __restrict__ partial, int64_t count) {
    double sum = 0;
    UNROLL_BY(4) for (int64_t i = threadIdx.x; i < count; i += 1024) sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out += sum;
}

template <class T>
static void adamw(Tensor p_, Tensor rounded_, Tensor m_, Tensor v_, Tensor g_, double grad_scale,
                  double lr, double beta1, double beta2, double eps, double weight_decay,
                  int64_t t) {
    const char* op = "adamw";
    CHECK(t >= 1, "adamw: steps are counted from 1, not %lld", (long long)t);
    const int64_t size = p_.size();
    auto flat = [&](const char* name, const Tensor& tensor) {
        CHECK(tensor.size() == size, "adamw: %s is %s, p is %s", name, shape_text(tensor).c_str(),
              shape_text(p_).c_str());
        return arg<float>(op, name, tensor.view({size}), {size});
    };
    float *p = flat("p", p_), *m = flat("m", m_), *v = flat("v", v_);
    const float* g = flat("g", g_);
    CHECK(!rounded_ || rounded_.size() == size, "adamw: rounded is %s, p is %s",
          shape_text(rounded_).c_str(), shape_text(p_).c_str());
    T* rounded = rounded_ ? arg<T>(op, "rounded", rounded_.view({size}), {size}) : nullptr;
    const AdamConstants constants = {
        .b1 = (float)beta1,
        .b2 = (float)beta2,
        .c1 = (float)(1 - beta1),
        .c2 = (float)(1 - beta2),
        .scale = (float)grad_scale,
        .step = (float)(lr / (1 - std::pow(beta1, t))),
        .root = (float)(1 / std::sqrt(1 - std::pow(beta2, t))),
        .eps = (float)eps,
        .decay = (float)(lr * weight_decay),
    };
    with_width(is_aligned(p, m, v, g, rounded), [&](auto W) {
        launch(op, adamw_kernel<T, W>, (unsigned)ceil_div(size, 256 * W), 256, 0, p, rounded, m, v,
               g, size, constants);
    });
}

static void sumsq(Tensor out_, Tensor x_) {
    const char* op = "sumsq";
    double* out = arg<double>(op, "out", out_, {1});
    const int64_t size = x_.size(), blocks = ceil_div(size, sumsq_stretch);
    const float* x = arg<float>(op, "x", x_.view({size}), {size});
    double* partial = static_cast<double*>(scratch(blocks * sizeof(double)));
    with_width(is_aligned(x), [&](auto W) {
        launch(op, sumsq_kernel<W>, (unsigned)blocks, 256, 0, partial, x, size);
    });
    launch(op, add_partials_kernel, 1, 1024, 0, out, (const double*)partial, blocks);
}

template <class T> void install_adamw(Ops& ops) {
    ops.adamw = adamw<T>;
    ops.sumsq = sumsq;
}
template void install_adamw<float>(Ops&);
template void install_adamw<bf16>(Ops&);

} // namespace gpu
