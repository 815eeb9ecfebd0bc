#include "base/json.h"
#include "text/regex.h"
#include "text/unicode.h"

#include "base/file.h"
#include <algorithm>

#include <gtest/gtest.h>

static std::vector<std::string> pieces(const std::string& pattern, const std::string& text,
                                       bool literal = false) {
    std::vector<Span> matches;
    Regex(pattern, literal, "test").find_all(text, matches);
    std::vector<std::string> found;
    for (const Span& match : matches)
        found.push_back(text.substr(match.begin, match.end - match.begin));
    return found;
}
using Pieces = std::vector<std::string>;

TEST(Regex, KnowsTheLettersAndNumbersOfUnicode16) {
    EXPECT_EQ(pieces("\\p{L}+", "a\u1c89\U000105c0b \U00031350"),
              (Pieces{"a\u1c89\U000105c0b", "\U00031350"}));
    EXPECT_EQ(pieces("\\p{N}+", "1\U00010d40\u00b2x"), (Pieces{"1\U00010d40\u00b2"}));
    EXPECT_EQ(pieces("[^\\s\\p{L}\\p{N}]+", "a!\u1c89?\U00010d40"), (Pieces{"!", "?"}));
    EXPECT_EQ(pieces("\\P{L}", "\u1c89-"), (Pieces{"-"}));
    EXPECT_EQ(pieces("\\w+", "a\u0301_\u0897b-c"), (Pieces{"a\u0301_\u0897b", "c"}));
}

// Every class over all code points, against Oniguruma as `tokenizers` has it
// (tests/reference/unicode_ranges.py).
TEST(Regex, ClassesHoldTheCodePointsOfTokenizers) {
    std::string text;
    std::vector<size_t> begin_of; // of every code point, and the end
    std::vector<int32_t> points;
    for (int32_t c = 0; c < 0x110000; ++c) {
        if (c >= 0xD800 && c < 0xE000) continue;
        begin_of.push_back(text.size()), points.push_back(c);
        append_utf8(text, c);
    }
    auto index = [&](size_t at) {
        return (size_t)(std::lower_bound(begin_of.begin(), begin_of.end(), at) - begin_of.begin());
    };
    const Json golden =
        parse_json(read_file("tests/golden/tokenizers/classes.json"), "classes.json");
    EXPECT_GE(golden.size(), 70u);
    for (const auto& [pattern, want] : golden.items()) {
        std::vector<Span> matches;
        Regex(pattern + "+", false, "test").find_all(text, matches);
        uint64_t hash = 0xCBF29CE484222325;
        auto add = [&](int32_t first, int32_t last) {
            for (char byte : format("%X-%X;", (unsigned)first, (unsigned)last))
                hash = (hash ^ (uint8_t)byte) * 0x100000001B3;
        };
        for (const Span& match : matches) {
            const int32_t first = points[index(match.begin)], last = points[index(match.end) - 1];
            if (first < 0xD800 && last >= 0xE000) { // surrogates stand between
                add(first, 0xD7FF), add(0xE000, last);
                continue;
            }
            add(first, last);
        }
        EXPECT_EQ(format("%016llx", (unsigned long long)hash), want.get<std::string>()) << pattern;
    }
}

TEST(Regex, WhiteSpaceIsUnicodesAndNotTheMongolianSeparator) {
    EXPECT_EQ(pieces("\\s+", "a \u0085\u00a0\u180e\u3000"), (Pieces{" \u0085\u00a0", "\u3000"}));
    EXPECT_EQ(pieces("\\S+", "\u180ex \u2003y"), (Pieces{"\u180ex", "y"}));
    EXPECT_EQ(pieces("[\\S]+", "\u180ex y"), (Pieces{"\u180ex", "y"}));
    EXPECT_EQ(pieces("[^\\S]", "\u180e \u180e"), (Pieces{" "}));
}

TEST(Regex, FindsFromLeftToRightWithEmptyMatches) {
    EXPECT_EQ(pieces("a*", "aab\u00e9"), (Pieces{"aa", "", ""})); // none directly behind "aa"
    EXPECT_EQ(pieces(".", "a.b.", true), (Pieces{".", "."}));
    EXPECT_EQ(pieces("(?i:'s)", "'s'S'\u017f'"), (Pieces{"'s", "'S", "'\u017f"}));
    EXPECT_EQ(pieces("^a$", "a\nb\na"), (Pieces{"a", "a"})); // lines, as in Ruby
}

TEST(Regex, BadAndEndlessPatternsAreErrors) {
    auto error = [](const std::string& pattern, const std::string& text) -> std::string {
        try {
            pieces(pattern, text);
        } catch (const Error& problem) {
            return problem.what();
        }
        return "no error";
    };
    EXPECT_NE(error("(", "a").find("does not compile"), std::string::npos);
    EXPECT_NE(error("", "a").find("empty"), std::string::npos);
    EXPECT_NE(error("[a[b]]", "a").find("set inside a set"), std::string::npos);
    EXPECT_NE(error("a\\bc", "a").find("\\b"), std::string::npos);
    for (const char* property : {"\\p{Emoji}", "\\p{Letter}", "\\p{IsHan}", "\\pL"})
        EXPECT_NE(error(property, "a").find("property \\p"), std::string::npos) << property;
    // read in another way by Oniguruma
    for (const char* pattern : {"\\d{1,3}+", "a{2}?", "(?m:.)", "(?im)a", "\\Qa\\E"})
        EXPECT_NE(error(pattern, "a").find("not supported"), std::string::npos) << pattern;
    EXPECT_EQ(error("(?i:a{1,2}?)b*+c++", "a"), "no error");
    std::string endless(40, 'a');
    endless += "b";
    EXPECT_NE(error("(a+)+$", endless).find("too long"), std::string::npos);
}
