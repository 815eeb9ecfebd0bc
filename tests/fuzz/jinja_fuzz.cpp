// Any text as a chat template, given a conversation: an Error, or a text within its bounds with the
// generation blocks inside of it.

#include "text/jinja.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const Json variables = parse_json(R"({"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Hi \u00e9 <b>\n"},
        {"role": "assistant", "content": "<think>\nwhy\n</think>\n\nYo", "n": 1.5, "tool_calls":
            [{"function": {"name": "f", "arguments": {"a": [1, null, true]}}}]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "documents": null, "add_generation_prompt": true, "bos_token": "<s>"})",
                                             "variables");
    JinjaLimits limits;
    limits.work = 2000000;
    limits.output = 1 << 20;
    try {
        auto chat = JinjaTemplate::parse(std::string((const char*)data, size), "input");
        std::tm noon{};
        noon.tm_mday = 1, noon.tm_year = 124;
        JinjaOutput output = chat.render(variables, noon, limits);
        if (output.text.size() > limits.output) std::abort();
        size_t behind = 0;
        for (auto& span : output.generations) {
            if (span.begin < behind || span.end < span.begin) std::abort();
            behind = span.end;
        }
        if (behind > output.text.size()) std::abort();
    } catch (const Error&) {
    }
    return 0;
}
