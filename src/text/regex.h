#pragma once
// Regular expressions of tokenizer.json. They are written for Oniguruma; PCRE2 runs them, with the few
// classes that the two define differently (\s, \w) spelled out.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct Span {
    size_t begin, end; // bytes
};

struct Regex {
    // A pattern that does not compile is an error that names `where`. literal: the text itself.
    Regex(const std::string& pattern, bool literal, const std::string& where);
    Regex(Regex&&) = default;
    // All matches from left to right; an empty one not directly behind another match. `text` is
    // well-formed UTF-8. Uses scratch memory of the object: one thread at a time.
    void find_all(std::string_view text, std::vector<Span>& matches) const;

private:
    std::shared_ptr<struct CompiledRegex> compiled;
};
