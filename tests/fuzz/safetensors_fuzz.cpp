// Any bytes as a safetensors file: an Error or tensors whose every value can be read, never a fault.

#include "format/safetensors.h"

#include <algorithm>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        for (const StoredTensor& tensor : parse_safetensors(data, size, "input")) {
            std::vector<float> values(std::min<int64_t>(tensor.size, 64));
            int64_t count = (int64_t)values.size();
            read_stored(tensor, tensor.size - count, count, values.data());
        }
    } catch (const Error&) {
    }
    return 0;
}
