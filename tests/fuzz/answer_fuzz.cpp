// Any text as a completion and as a gold answer. A value equals itself, and equality has no direction.

#include "task/answer.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string text((const char*)data, size), half = text.substr(size / 2);
    const Value whole = read_value(text), part = read_value(half);
    if (!same_value(whole, whole) || same_value(whole, part) != same_value(part, whole))
        std::abort();
    value_key(whole);
    for (const std::string& completion : {text, "#### " + text, "\\boxed{" + text + "}"})
        if (auto answer = extract_answer(completion, false)) answer_matches(*answer, half);
    return 0;
}
