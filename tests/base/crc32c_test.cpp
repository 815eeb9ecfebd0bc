#include "base/crc32c.h"

#include <gtest/gtest.h>
#include <string>

// RFC 3720, B.4, and the usual check value.
TEST(Crc32c, GivesThePublishedSums) {
    EXPECT_EQ(crc32c("123456789", 9), 0xE3069283u);
    EXPECT_EQ(crc32c(std::string(32, '\0').data(), 32), 0x8A9136AAu);
    EXPECT_EQ(crc32c(std::string(32, '\xff').data(), 32), 0x62A8AB43u);
    EXPECT_EQ(crc32c("", 0), 0u);
}

TEST(Crc32c, OfPiecesIsThatOfTheWhole) {
    std::string text;
    for (int i = 0; i < 1000; ++i) text += (char)(i * i);
    for (size_t cut : {0, 1, 7, 8, 500, 999})
        EXPECT_EQ(crc32c(text.data() + cut, text.size() - cut, crc32c(text.data(), cut)),
                  crc32c(text.data(), text.size()));
    const uint32_t whole = crc32c(text.data(), text.size());
    text[500] ^= 4;
    EXPECT_NE(crc32c(text.data(), text.size()), whole);
}
