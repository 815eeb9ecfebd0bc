// Any bytes as a GGUF file: an Error or a model, tokenizer and tensors that can be read, never a fault.

#include "model/gguf_model.h"

static void convert(const uint8_t* data, size_t size) {
    GgufContents gguf = parse_gguf(data, size, "input");
    for (auto& [name, tensor] : gguf.tensors) {
        if (!gguf_readable(tensor)) continue;
        std::vector<float> row(tensor.cols);
        gguf_read_row(tensor, tensor.rows - 1, row.data());
    }
    gguf_tokenizer(gguf.metadata, "input");
    ModelConfig config = gguf_model_config(gguf, "input");
    if (config.L > 64) return; // the list of parameters grows with it; the bytes do not
    for (const TensorSource& source : gguf_weights(gguf, config, DType::f32, "input")) {
        float value;
        source.read(source.size() - 1, 1, &value);
    }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        convert(data, size);
    } catch (const Error&) {
    }
    return 0;
}
