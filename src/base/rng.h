#pragma once
// Counter-based random numbers: Philox4x32-10 [Salmon et al. 2011, "Parallel random numbers: as easy
// as 1, 2, 3", section 3.3]. A number is a pure function of (key, counter), so a sample does not depend
// on which thread, batch or rank drew it, and a resumed run needs to store nothing but its step.

#include <array>
#include <cstdint>

// The ten rounds. key: 64 bits, counter: 128 bits -> 128 random bits.
std::array<uint32_t, 4> philox(std::array<uint32_t, 2> key, std::array<uint32_t, 4> counter);

// A stream of numbers: key = seed, high half of the counter = stream, low half counts up.
struct Rng {
    uint64_t seed = 0, stream = 0, count = 0; // the whole state

    explicit Rng(uint64_t seed_, uint64_t stream_ = 0) : seed(seed_), stream(stream_) {}
    uint32_t next_u32();
    double uniform(); // in [0, 1), 53 bits
    int below(int n); // 0 .. n-1, unbiased
    double normal();  // mean 0, deviation 1 (Box-Muller)
    template <class V> void shuffle(V& items) {
        for (int i = (int)items.size() - 1; i > 0; --i) std::swap(items[i], items[below(i + 1)]);
    }
};

// The uniform number in (0, 1) with which the token at `position` of a completion is drawn.
double sample_uniform(uint64_t seed, uint32_t step, uint32_t prompt, uint32_t sample,
                      uint32_t position);

// 64 mixed bits of a 64-bit value (SplitMix64's finaliser), to make seeds out of seeds.
uint64_t mix64(uint64_t value);
