#include "text/regex.h"

#include "base/check.h"
#include "text/unicode.h"

#include <cctype>
#include <cstring>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct CompiledRegex {
    pcre2_code* code = nullptr;
    pcre2_match_data* match = nullptr;
    pcre2_match_context* context = nullptr;
    pcre2_jit_stack* stack = nullptr;
    ~CompiledRegex() {
        pcre2_jit_stack_free(stack);
        pcre2_match_context_free(context);
        pcre2_match_data_free(match);
        pcre2_code_free(code);
    }
};

// White_Space, which PCRE2's \s is but for U+180E.
static const char space_members[] =
    "\\x{09}-\\x{0D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}"
    "\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";

// The name in the braces behind \p at pattern[at], as Oniguruma reads it: of any case, without blanks, _
// and -. `at` moves to the closing brace; a ^ in front turns `negated`.
static std::string property_name(const std::string& pattern, size_t& at, bool& negated) {
    std::string name;
    const size_t end = pattern.find('}', at);
    if (pattern[at + 1] != '{' || end == std::string::npos) return "";
    for (size_t i = at + 2; i < end; ++i) {
        const char c = pattern[i];
        if (c == '^' && i == at + 2)
            negated = !negated;
        else if (!std::strchr(" _-", c))
            name += (char)std::tolower(c);
    }
    at = end;
    return name;
}

static std::string property_members(const std::string& name) {
    static const char categories[] =
        " l lu ll lt lm lo m mn mc me n nd nl no p pc pd ps pe pi pf po "
        "s sm sc sk so z zs zl zp c cc cf cn co ";
    if (std::strstr(categories, (" " + name + " ").c_str()) == nullptr) return script_members(name);
    std::string category = name;
    category[0] = (char)std::toupper(category[0]);
    return category_members(category);
}

// Members of a class for what stands behind the backslash at pattern[at], where Oniguruma means something
// else than PCRE2 does; "" where they agree. `at` moves to the end of it.
static std::string members_of(const std::string& pattern, size_t& at, bool in_class, bool& negated,
                              const std::string& where) {
    const size_t begin = at;
    switch (pattern[at]) {
    case 's':
    case 'S':
        return space_members;
    case 'd':
    case 'D':
        return category_members("Nd");
    case 'v':
        return "\\x{B}";
    case 'w':
    case 'W': // word characters of Unicode TR 18; outside of a class Latin-1's numbers, too
        return category_members("L") + category_members("M") + category_members("Nd") +
               category_members("Nl") + category_members("Pc") +
               "\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{"
               "1F189}" +
               (in_class ? "" : "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}");
    case 'p':
    case 'P': {
        const std::string members = property_members(property_name(pattern, at, negated));
        CHECK(!members.empty(), "%s: the property %s in the regular expression %s is not supported",
              where.c_str(), pattern.substr(begin - 1, at + 2 - begin).c_str(), pattern.c_str());
        return members;
    }
    }
    return "";
}

// What the two languages read in different ways beside classes of characters.
static void check_syntax(const std::string& pattern, size_t at, const std::string& where) {
    auto refuse = [&](const char* what) {
        fail("%s: %s in the regular expression %s is not supported", where.c_str(), what,
             pattern.c_str());
    };
    if (pattern.compare(at, 2, "}+") == 0) refuse("{..}+, which repeats a repetition,");
    if (pattern.compare(at, 2, "}?") == 0) {
        const size_t open = pattern.rfind('{', at);
        if (open != std::string::npos && pattern.find(',', open) > at)
            refuse("{n}?, which makes a repetition optional,");
    }
    if (pattern.compare(at, 2, "(?") == 0)
        for (size_t i = at + 2; i < pattern.size() && std::strchr("imx-", pattern[i]); ++i)
            if (pattern[i] == 'm') refuse("(?m, where the dot matches line ends,");
}

static std::string to_pcre2(const std::string& pattern, const std::string& where) {
    std::string out;
    bool in_class = false;
    for (size_t i = 0; i < pattern.size(); ++i) {
        char c = pattern[i];
        if (c != '\\' || i + 1 == pattern.size()) {
            CHECK(!(in_class && (c == '[' || pattern.compare(i, 2, "&&") == 0)),
                  "%s: the regular expression %s has a set inside a set, which is not supported",
                  where.c_str(), pattern.c_str());
            if (!in_class) check_syntax(pattern, i, where);
            if (c == '[') {
                in_class = true;
                if (pattern.compare(i, 2, "[^") == 0) out += pattern[i++];
            }
            if (c == ']') in_class = false;
            out += pattern[i];
            continue;
        }
        char letter = pattern[++i];
        bool negated = std::strchr("SDWP", letter);
        std::string members = members_of(pattern, i, in_class, negated, where);
        CHECK(!std::strchr("hHbBQEN", letter) && !(in_class && negated && letter != 'S'),
              "%s: \\%c in the regular expression %s is not supported here", where.c_str(), letter,
              pattern.c_str());
        if (letter == 'u')
            out += "\\x{" + pattern.substr(i + 1, 4) + "}", i += 4;
        else if (members.empty())
            out += {c, letter};
        else if (!in_class)
            out += (negated ? "[^" : "[") + members + "]";
        else
            out += negated ? "\\S\\x{180E}" : members;
    }
    return out;
}

Regex::Regex(const std::string& pattern, bool literal, const std::string& where)
    : compiled(std::make_shared<CompiledRegex>()) {
    CHECK(!pattern.empty(), "%s: a pre-tokenizer's pattern is empty", where.c_str());
    std::string text = literal ? pattern : to_pcre2(pattern, where);
    // In Oniguruma's (Ruby's) syntax ^ and $ match at every line.
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE);
    int error = 0;
    size_t offset = 0;
    compiled->code =
        pcre2_compile((PCRE2_SPTR)text.data(), text.size(), options, &error, &offset, nullptr);
    if (!compiled->code) {
        char message[200] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR*)message, sizeof message);
        fail("%s: the regular expression %s does not compile: %s", where.c_str(), pattern.c_str(),
             message);
    }
    pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE); // without it matching is only slower
    compiled->match = pcre2_match_data_create(1, nullptr);
    compiled->context = pcre2_match_context_create(nullptr);
    compiled->stack = pcre2_jit_stack_create(1 << 15, 1 << 22, nullptr);
    CHECK(compiled->match && compiled->context, "out of memory in a regular expression");
    if (compiled->stack) pcre2_jit_stack_assign(compiled->context, nullptr, compiled->stack);
    // A pattern that backtracks without end becomes an error within a second.
    pcre2_set_match_limit(compiled->context, 1000000);
    pcre2_set_heap_limit(compiled->context, 1 << 16); // KiB
}

void Regex::find_all(std::string_view text, std::vector<Span>& matches) const {
    matches.clear();
    size_t at = 0, last_end = std::string_view::npos;
    while (at <= text.size()) {
        auto search = [&](uint32_t options) {
            return pcre2_match(compiled->code, (PCRE2_SPTR)text.data(), text.size(), at,
                               PCRE2_NO_UTF_CHECK | options, compiled->match, compiled->context);
        };
        int found = search(0);
        if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = search(PCRE2_NO_JIT);
        if (found == PCRE2_ERROR_NOMATCH) return;
        CHECK(found >= 0,
              "a regular expression of the tokenizer takes too long or too much memory "
              "on this text (PCRE2 error %d)",
              found);
        const size_t* ends = pcre2_get_ovector_pointer(compiled->match);
        size_t begin = ends[0], end = ends[1];
        CHECK(begin <= end, "a regular expression of the tokenizer ends before it begins");
        if (begin == end && end == last_end) {
            ++at;
            while (at < text.size() && ((uint8_t)text[at] & 0xC0) == 0x80) ++at;
            continue;
        }
        matches.push_back({begin, end});
        at = last_end = end;
    }
}
