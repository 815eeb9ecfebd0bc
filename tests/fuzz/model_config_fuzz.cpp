// Any text as config.json: an Error or a configuration that writes and reads back the same.

#include "model/hf_config.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    ModelConfig config;
    try {
        Json json = parse_json(std::string((const char*)data, size), "input");
        config = parse_model_config(json, json, "input");
    } catch (const Error&) {
        return 0;
    }
    ModelConfig back =
        parse_model_config(model_config_json(config, nullptr, "f32"), nullptr, "written");
    if (back.D != config.D || back.K != config.K || back.eos != config.eos ||
        back.head != config.head)
        std::abort();
    return 0;
}
