#pragma once
#include <chrono>

// Seconds of a clock that never goes back.
inline double now() {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}
