#pragma once
// Which keys of algo.* do something, given the others. A key that is set and does nothing was set by
// someone who believes that it does.

#include "rl/algo_config.h"

struct KeyEffect {
    std::string key; // "clip_eps_low", without algo.
    bool acts;
    std::string needs; // in order to act
};
// Of the keys that do not act under all settings.
std::vector<KeyEffect> key_effects(const AlgoConfig& algo);

// Error: a key without effect stands on the command line, or stands in the file with another value
// than the preset's (a run's own config.json names every key). diff's command line is for either of its
// two configurations and is not held against one.
void check_key_effects(const AlgoConfig& algo, const AlgoConfig& preset, const Args& args);
