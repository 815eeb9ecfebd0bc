// rlhf convert from=X to=DIR [to_dtype=f32|bf16|f16]

#include "app/commands.h"
#include "model/hf.h"

#include <cstdio>

namespace {
struct ConvertConfig {
    std::string from, to, to_dtype;
    void visit(Fields& v) {
        v.field("from", from,
                "a GGUF file (F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q6_K) or a model's directory");
        v.field("to", to, "the directory to write, in Hugging Face's layout; new or empty");
        v.choice("to_dtype", to_dtype, {"", "f32", "bf16", "f16"},
                 "of the weights; empty: as in the source, f32 for quantised ones");
    }
};

int convert(ConvertConfig& config, const Args&) {
    CHECK(!config.from.empty() && !config.to.empty(),
          "convert needs a source and a target: rlhf convert from=FILE_OR_DIR to=DIR");
    convert_model(config.from, config.to, config.to_dtype);
    std::fprintf(stderr, "wrote %s\n", config.to.c_str());
    return 0;
}
} // namespace

extern const Command convert_command = command<ConvertConfig, convert>(
    "convert", "a GGUF file or a Hugging Face directory to a Hugging Face directory");
