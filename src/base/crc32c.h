#pragma once
#include <cstddef>
#include <cstdint>

// CRC-32C (Castagnoli; RFC 3720, B.4) of bytes behind those whose sum is `before`.
uint32_t crc32c(const void* bytes, size_t count, uint32_t before = 0);
