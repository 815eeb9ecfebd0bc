#pragma once
// What losses are checked on, by `check grad` and by the tests.

#include "base/rng.h"
#include "rl/batch.h"

#include <cmath>

// Five prompts of 1 to 4 completions, lengths 1 to 7, every array filled; the policy has moved away
// from logp_old by 0.3 nats, so that clips are reached.
inline Rollouts random_rollouts(uint64_t seed) {
    Rng rng(seed);
    Rollouts r;
    for (int g = 0; g < 5; ++g)
        for (int k = 0; k < 1 + (g + 3) % 4; ++k) {
            r.group.push_back(g);
            r.reward.push_back(0.5 + 0.5 * std::tanh(rng.normal())); // in (0, 1): bnpo wants it
            r.finished.push_back(1);
            r.offset.push_back(r.offset.back() + 1 + rng.below(7));
        }
    r.groups = 5;
    for (int64_t n = 0; n < r.tokens(); ++n) {
        r.logp_old.push_back(-1.5 + 0.4 * rng.normal());
        r.logp.push_back(r.logp_old[n] + 0.3 * rng.normal());
        r.logp_ref.push_back(r.logp_old[n] + 0.3 * rng.normal());
        r.entropy.push_back(0.2 + rng.uniform());
        r.value_old.push_back(0.5 * rng.normal());
        r.value.push_back(r.value_old[n] + 0.3 * rng.normal());
        r.credit.push_back(0.3 * rng.normal());
    }
    return r;
}
