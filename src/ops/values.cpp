#include "ops/values.h"

void upload_values(const Ops& ops, Tensor to, const std::vector<double>& values) {
    if (to.dtype == DType::f64) return ops.upload(to, values.data());
    const std::vector<float> rounded(values.begin(), values.end());
    ops.upload(to, rounded.data());
}

std::vector<double> download_values(const Ops& ops, Tensor from) {
    std::vector<double> values(from.size());
    if (from.dtype == DType::f64) {
        ops.download(values.data(), from);
        return values;
    }
    std::vector<float> rounded(from.size());
    ops.download(rounded.data(), from);
    values.assign(rounded.begin(), rounded.end());
    return values;
}
