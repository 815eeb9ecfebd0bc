#pragma once
// The two 16-bit float formats, in plain C++ that vectorises: bf16 is the upper half of an f32, f16 has
// 5 bits of exponent [IEEE 754-2019, binary16]. Rounding is to nearest, ties to even.

#include <bit>
#include <cstdint>

inline float bf16_to_float(uint16_t half) { return std::bit_cast<float>((uint32_t)half << 16); }

inline uint16_t float_to_bf16(float value) {
    uint32_t bits = std::bit_cast<uint32_t>(value);
    uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    uint32_t quiet = (bits >> 16) | 0x40; // NaN: a carry out of its low bits could make it infinite
    return (uint16_t)((bits & 0x7FFFFFFF) > 0x7F800000 ? quiet : rounded);
}

inline float f16_to_float(uint16_t half) {
    // Shifted into place, the exponent's bias is 112 too small; subnormals come right by the product.
    float magnitude = std::bit_cast<float>((uint32_t)(half & 0x7FFF) << 13) * 0x1p112f;
    uint32_t bits = std::bit_cast<uint32_t>(magnitude);
    bits |= (half & 0x7C00) == 0x7C00 ? 0x7F800000u : 0u; // infinity and NaN
    return std::bit_cast<float>(bits | (uint32_t)(half & 0x8000) << 16);
}

inline uint16_t float_to_f16(float value) {
    uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7FFFFFFF;
    uint32_t sign = (bits >> 16) & 0x8000, half;
    if (magnitude > 0x7F800000)
        half = 0x7E00; // NaN
    else if (magnitude >= 0x477FF000)
        half = 0x7C00; // from 65520 on: infinity
    else if (magnitude >= 0x38800000)
        half = (magnitude - 0x38000000 + 0xFFF + ((magnitude >> 13) & 1)) >> 13;
    else // below 2^-14 the adder rounds at 2^-24, the step of the subnormals: 2^-24 is an ulp of 0.5
        half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3F000000;
    return (uint16_t)(sign | half);
}
