#include "base/crc32c.h"

#include <array>
#include <cstring>

// table[k][b]: what byte b does to the sum with k bytes behind it.
static std::array<std::array<uint32_t, 256>, 8> make_table() {
    std::array<std::array<uint32_t, 256>, 8> table{};
    for (uint32_t b = 0; b < 256; ++b) {
        uint32_t sum = b;
        for (int bit = 0; bit < 8; ++bit) sum = sum >> 1 ^ (sum & 1 ? 0x82F63B78u : 0);
        table[0][b] = sum;
    }
    for (int k = 1; k < 8; ++k)
        for (uint32_t b = 0; b < 256; ++b)
            table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 255];
    return table;
}

uint32_t crc32c(const void* bytes, size_t count, uint32_t before) {
    static const auto table = make_table();
    const uint8_t* at = static_cast<const uint8_t*>(bytes);
    uint32_t sum = ~before;
    for (; count >= 8; at += 8, count -= 8) {
        uint64_t word;
        std::memcpy(&word, at, 8);
        word ^= sum;
        sum = 0;
        for (int k = 0; k < 8; ++k) sum ^= table[7 - k][word >> 8 * k & 255];
    }
    for (; count > 0; ++at, --count) sum = sum >> 8 ^ table[0][(sum ^ *at) & 255];
    return ~sum;
}
