// AdamW, and the sum of squares by which gradients are clipped.

#include "ops/install.h"
#include "ops/row_math.h"

namespace cpu {

template <class T>
static void adamw(Tensor p, Tensor rounded, Tensor m, Tensor v, Tensor g, double grad_scale,
                  double lr, double beta1, double beta2, double eps, double weight_decay,
                  int64_t t) {
    CHECK(t >= 1, "adamw: steps are counted from 1, not %lld", (long long)t);
    CHECK(!rounded, "adamw: rounded is %s; on the CPU the network reads p itself",
          shape_text(rounded).c_str());
    int64_t size = p.size();
    auto check = [&](const char* name, const Tensor& tensor) {
        CHECK(tensor.size() == size && tensor.dtype == p.dtype, "adamw: %s is %s, p is %s", name,
              shape_text(tensor).c_str(), shape_text(p).c_str());
    };
    check("m", m), check("v", v), check("g", g);
    T *pp = p.as<T>(), *mp = m.as<T>(), *vp = v.as<T>();
    const T* gp = g.as<T>();
    const T b1 = beta1, b2 = beta2, c1 = 1 - beta1, c2 = 1 - beta2, scale = grad_scale;
    // lr / (1-beta1^t) m / (sqrt(v / (1-beta2^t)) + eps), with the constants taken out of the loop
    const T step = lr / (1 - std::pow(beta1, t)), root = 1 / std::sqrt(1 - std::pow(beta2, t));
    const T e = eps, decay = lr * weight_decay;
#pragma omp parallel for simd schedule(static) if (size > 1 << 14)
    for (int64_t i = 0; i < size; ++i) {
        T gi = gp[i] * scale;
        T mi = fma(b1, mp[i], c1 * gi);
        T vi = fma(b2, vp[i], c2 * gi * gi);
        mp[i] = mi;
        vp[i] = vi;
        pp[i] = fma(-decay, pp[i], pp[i] - step * mi / fma(std::sqrt(vi), root, e));
    }
}

// Chunks of fixed size, each with its own sum, added in order.
template <class T> static void sumsq(Tensor out, Tensor x) {
    double* total = arg<double>("sumsq", "out", out, {1});
    const T* xp = x.as<T>();
    const int64_t size = x.size(), chunk = 1 << 14, chunks = (size + chunk - 1) / chunk;
    double* partial = static_cast<double*>(scratch(Slot::partial_sums, chunks * sizeof(double)));
#pragma omp parallel for if (chunks > 1)
    for (int64_t i = 0; i < chunks; ++i) {
        const T* from = xp + i * chunk;
        int64_t count = std::min(chunk, size - i * chunk);
        double part[16] = {};
        int64_t j = 0;
        for (; j + 16 <= count; j += 16)
            for (int l = 0; l < 16; ++l) part[l] += (double)from[j + l] * from[j + l];
        for (; j < count; ++j) part[0] += (double)from[j] * from[j];
        double sum = 0;
        for (int l = 0; l < 16; ++l) sum += part[l];
        partial[i] = sum;
    }
    for (int64_t i = 0; i < chunks; ++i) *total += partial[i];
}

template <class T> void install_adamw(Ops& ops) {
    ops.adamw = adamw<T>;
    ops.sumsq = sumsq<T>;
}
template void install_adamw<float>(Ops&);
template void install_adamw<double>(Ops&);

} // namespace cpu
