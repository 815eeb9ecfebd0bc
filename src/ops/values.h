#pragma once
// Numbers of the host, in double, to and from tensors of a table's dtype.

#include "ops/ops.h"

#include <vector>

// values: to.size() of them, rounded to f32 unless `to` is f64.
void upload_values(const Ops& ops, Tensor to, const std::vector<double>& values);
std::vector<double> download_values(const Ops& ops, Tensor from);
