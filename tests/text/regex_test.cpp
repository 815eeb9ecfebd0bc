#include "base/check.h"
#include "text/regex.h"

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
    EXPECT_NE(error("(a+)+$", std::string(40, 'a') + "b").find("too long"), std::string::npos);
}
