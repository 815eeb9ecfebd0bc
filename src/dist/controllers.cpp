#include "dist/controllers.h"

#include "base/rng.h"

#include <algorithm>
#include <cmath>

double central_seconds(int64_t samples, double sample_seconds) {
    return (double)samples * sample_seconds;
}

double per_rank_seconds(int64_t samples, int ranks, double sample_seconds) {
    return (double)((samples + ranks - 1) / ranks) * sample_seconds;
}

int64_t chunk_draws(int64_t tickets, int machines) {
    int64_t draws = 0;
    for (; tickets > 0; ++draws) tickets -= std::max<int64_t>(1, tickets / (2 * machines));
    return draws;
}

static int waves_of_one(double p, int64_t quota, double oversample, Rng& rng) {
    int waves = 0;
    for (int64_t missing = quota; missing > 0; ++waves) {
        const int64_t issued = (int64_t)std::ceil((double)missing * oversample / p - 1e-9);
        for (int64_t g = 0; g < issued; ++g) missing -= rng.uniform() < p;
    }
    return waves;
}

double waves_needed(double p, int quota, int ranks, bool shared, double oversample, int trials,
                    uint64_t seed) {
    Rng rng(seed);
    double sum = 0;
    for (int t = 0; t < trials; ++t) {
        int most = 0;
        if (shared) most = waves_of_one(p, (int64_t)quota * ranks, oversample, rng);
        for (int r = 0; r < ranks && !shared; ++r)
            most = std::max(most, waves_of_one(p, quota, oversample, rng));
        sum += most;
    }
    return sum / trials;
}
