#pragma once
// Chat templates as they are written: a Jinja interpreter with what transformers gives to a template
// (trim_blocks, lstrip_blocks, break and continue, {% generation %}, tojson without HTML escapes,
// raise_exception, strftime_now; immutable lists and dicts, no imports). What it does not know is an
// error that names it with its line.

#include "base/json.h"

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace jinja {
struct Node;
}

// A template comes with a model from anywhere, so what it may use is bounded.
struct JinjaLimits {
    int64_t work = 1ll << 30;   // steps, and bytes of the strings that are made
    size_t output = 256u << 20; // bytes of one string
    int depth = 800;            // of calls and nested expressions
};

struct JinjaOutput {
    struct Span {
        size_t begin, end;
    };
    std::string text;
    std::vector<Span> generations; // bytes that {% generation %} blocks wrote, in order
    // Line of a generation block whose place in the text is unknown, as a macro, {% set %} or {% filter %}
    // took its text; 0: none.
    int displaced_generation = 0;
};

struct JinjaTemplate {
    std::string where; // names the template in messages
    std::shared_ptr<const jinja::Node> root;
    bool marks_generation = false; // it has {% generation %} blocks
    bool reads_clock = false;      // it calls strftime_now

    static JinjaTemplate parse(const std::string& source, const std::string& where);
    // `variables`: an object. `now`: what strftime_now reads; the local clock where it is missing.
    JinjaOutput render(const Json& variables, const std::optional<std::tm>& now = {},
                       const JinjaLimits& limits = {}) const;
};
