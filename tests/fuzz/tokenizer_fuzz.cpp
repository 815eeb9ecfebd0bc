// Any text as tokenizer.json: an Error, or a tokenizer that encodes and decodes without a fault.

#include "base/check.h"
#include "text/tokenizer.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    std::string text((const char*)data, size);
    try {
        auto tokenizer = Tokenizer::parse(text, "input");
        std::string sample = "It's 12,345 e\u0301 \u4e2d\u6587 <|im_end|>\n  <s>x</s> \xFF_#;" +
                             text.substr(0, 64); // some of it not UTF-8
        std::vector<size_t> begins;
        auto ids = tokenizer->encode(sample, true, &begins);
        if (ids.size() != begins.size()) std::abort();
        for (int32_t id : ids) // post-processors may name ids that have no token
            if (id < 0) std::abort();
        tokenizer->decode(ids, false);
        tokenizer->decode(ids, true);
    } catch (const Error&) {
    }
    return 0;
}
