#include "base/rng.h"

#include <cmath>

std::array<uint32_t, 4> philox(std::array<uint32_t, 2> key, std::array<uint32_t, 4> c) {
    for (int round = 0; round < 10; ++round) {
        uint64_t product0 = (uint64_t)0xD2511F53u * c[0], product1 = (uint64_t)0xCD9E8D57u * c[2];
        c = {(uint32_t)(product1 >> 32) ^ c[1] ^ key[0], (uint32_t)product1,
             (uint32_t)(product0 >> 32) ^ c[3] ^ key[1], (uint32_t)product0};
        key[0] += 0x9E3779B9u; // the golden ratio and sqrt(3) - 1, as the paper has them
        key[1] += 0xBB67AE85u;
    }
    return c;
}

static double to_unit(uint32_t high, uint32_t low) {
    return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

uint32_t Rng::next_u32() {
    uint64_t block = count / 4;
    auto bits = philox(
        {(uint32_t)seed, (uint32_t)(seed >> 32)},
        {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)});
    return bits[count++ % 4];
}

double Rng::uniform() {
    uint32_t high = next_u32(), low = next_u32();
    return to_unit(high, low);
}

int Rng::below(int n) {
    uint32_t bound = (uint32_t)n, threshold = -bound % bound; // rejects the uneven rest
    for (;;) {
        uint64_t product = (uint64_t)next_u32() * bound;
        if ((uint32_t)product >= threshold) return (int)(product >> 32);
    }
}

double Rng::normal() {
    double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(2 * M_PI * uniform());
}

double sample_uniform(uint64_t seed, uint32_t step, uint32_t prompt, uint32_t sample,
                      uint32_t position) {
    auto bits = philox({(uint32_t)seed, (uint32_t)(seed >> 32)}, {position, sample, prompt, step});
    return to_unit(bits[0], bits[1]) +
           0x1p-54; // never 0: an empty prefix of the CDF is never drawn
}

uint64_t mix64(uint64_t value) {
    value += 0x9E3779B97F4A7C15ull;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
    return value ^ (value >> 31);
}
