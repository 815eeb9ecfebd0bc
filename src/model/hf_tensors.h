#pragma once
// The tensors of a directory's files beside a model's parameters: what must be there, with which
// shape, and what may not.

#include "format/safetensors.h"
#include "model/model.h"

std::vector<int64_t> shape_of(const Tensor& tensor);

// Error: the files hold a tensor that is neither a parameter nor harmless.
void check_unexpected(const SafetensorsDirectory& stored, const Params& params,
                      const ModelConfig& config, const std::string& directory);

// Error: the tensor is missing, or has another shape.
const StoredTensor& find_stored(const SafetensorsDirectory& stored, const std::string& name,
                                const std::vector<int64_t>& shape, const std::string& directory);

bool is_head(const Param& param);

// The value head on a language model, which is no part of it for anyone but its trainer.
inline constexpr const char* value_head_name = "value_head.safetensors";
