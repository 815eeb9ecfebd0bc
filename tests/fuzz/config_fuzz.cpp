// Any text as a configuration: its first line as JSON, the others as key=value overrides.

#include "base/config.h"

#include <cstdlib>

namespace {
struct Inner {
    double lr = 1e-3;
    std::string kind = "a", name;
    std::vector<std::string> words;
    std::vector<double> numbers;
    Json free;
    void visit(Fields& v) {
        v.field("lr", lr, 0, 10, "eta");
        v.choice("kind", kind, {"a", "b"}, "one of two");
        v.field("name", name, "a string");
        v.field("words", words, "strings");
        v.field("numbers", numbers, -1, 1, "numbers");
        v.json("free", free, "anything");
    }
};
struct Outer {
    int steps = 1;
    int64_t seed = 0;
    bool on = false;
    Inner inner;
    void visit(Fields& v) {
        v.field("steps", steps, 0, 1e9, "steps");
        v.field("seed", seed, -9e15, 9e15, "seed");
        v.field("on", on, "a switch");
        v.object("inner", inner, "a group");
    }
};
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    std::string text((const char*)data, size);
    Outer config;
    Fields fields;
    config.visit(fields);
    try {
        size_t begin = std::min(text.find('\n'), text.size());
        if (begin > 0)
            read_config_json(fields, parse_json(text.substr(0, begin), "input"), "input");
        Args args;
        while (begin < text.size()) {
            size_t end = std::min(text.find('\n', begin + 1), text.size());
            std::string line = text.substr(begin + 1, end - begin - 1);
            if (line.find('=') != std::string::npos) args.overrides.push_back(line);
            begin = end;
        }
        read_config(fields, args);
        config_help(fields);
    } catch (const Error&) {
        return 0;
    }
    if (!(config.inner.lr >= 0 && config.inner.lr <= 10)) std::abort();
    if (!config_changes(fields, config_json(fields)).empty()) std::abort();
    return 0;
}
