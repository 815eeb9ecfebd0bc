#include "text/unicode.h"

#include <gtest/gtest.h>

TEST(Unicode, IllFormedPiecesBecomeOneReplacementEach) {
    const std::string R = "\uFFFD";
    EXPECT_EQ(valid_utf8("a\u00e9\u4e2d\U0001f642"), "a\u00e9\u4e2d\U0001f642");
    EXPECT_EQ(valid_utf8("\x80"), R);
    EXPECT_EQ(valid_utf8("\xC0\xAF"), R + R);                 // overlong
    EXPECT_EQ(valid_utf8("\xE2\x82z"), R + "z");              // cut short: one
    EXPECT_EQ(valid_utf8("\xED\xA0\x80"), R + R + R);         // a surrogate
    EXPECT_EQ(valid_utf8("\xF0\x9F\x99"), R);                 // at the end
    EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80"), R + R + R + R); // above U+10FFFF
    EXPECT_EQ(valid_utf8("\xF1\x80\x80\xE2\x82\xAC"), R + "\u20ac");
}

TEST(Unicode, NormalizationComposesAndOrdersMarks) {
    EXPECT_EQ(normalize_nfc("e\u0301").text, "\u00e9");
    EXPECT_EQ(normalize_nfc("a\u0301\u0316").text, "\u00e1\u0316");
    EXPECT_EQ(normalize_nfc("\u1100\u1161\u11a8").text, "\uac01");
    EXPECT_EQ(normalize_nfc("\u212b\u2126").text, "\u00c5\u03a9");
    EXPECT_EQ(normalize_nfc("\u0958").text, "\u0915\u093c"); // excluded from composition
}

// The tables of `tokenizers` are those of Unicode 9: a newer mark is no mark to them.
TEST(Unicode, NormalizationLeavesNewerCharactersAlone) {
    EXPECT_EQ(normalize_nfc("a\u07fd\u0301").text, "a\u07fd\u0301");
    EXPECT_EQ(normalize_nfc("a\u0897\u0301").text, "a\u0897\u0301");
    EXPECT_EQ(normalize_nfc("\U00011935\U00011930").text, "\U00011935\U00011930");
}

TEST(Unicode, PositionsLeadBackToTheOriginal) {
    Normalized normal = normalize_nfc("xe\u0301y"); // bytes: x 0, e 1, mark 2..3, y 4
    EXPECT_EQ(normal.text, "x\u00e9y");
    EXPECT_EQ(normal.original_position(0), 0u);
    EXPECT_EQ(normal.original_position(1), 1u);
    EXPECT_EQ(normal.original_position(3), 4u);
    EXPECT_EQ(normal.original_position(4), 5u);
}

TEST(Unicode, TheAlphabetIsReadBack) {
    std::string bytes, token;
    for (int b = 0; b < 256; ++b) append_utf8(token, byte_alphabet()[b]);
    ASSERT_TRUE(alphabet_to_bytes(token, bytes));
    for (int b = 0; b < 256; ++b) EXPECT_EQ((uint8_t)bytes[b], b);
    EXPECT_FALSE(alphabet_to_bytes("a b", bytes));
}

TEST(Unicode, CategoriesOfNewCharactersAreKnown) {
    EXPECT_TRUE(is_number(0x10D40) && is_number(0x11DE0) && is_number(0x00BD) && !is_number('a'));
    EXPECT_TRUE(is_word(0x1C89) && is_word(0x200D) && is_word('_') && !is_word('-'));
    EXPECT_TRUE(is_white_space(0x85) && is_white_space(0x3000) && !is_white_space(0x180E));
}
