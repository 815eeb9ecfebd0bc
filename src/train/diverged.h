#pragma once
// Training whose numbers are not finite any more: an error like others for whoever reads it, and an exit
// status of its own where several processes train (dist/processes.h).

#include "base/check.h"

inline bool training_diverged = false;

#define CHECK_FINITE(condition, ...)                                                               \
    do {                                                                                           \
        if (!(condition)) [[unlikely]] {                                                           \
            training_diverged = true;                                                              \
            fail(__VA_ARGS__);                                                                     \
        }                                                                                          \
    } while (0)
