#pragma once
// What a process is at, for whoever watches it (dist/watchdog.h): loops say by beat() that they go on,
// stations name themselves. Both cost an atomic store.

#include <atomic>
#include <cstdint>

inline std::atomic<uint64_t> heart_beats{0};
inline std::atomic<const char*> current_phase{"start"};

inline void beat() { heart_beats.fetch_add(1, std::memory_order_relaxed); }
inline void enter_phase(const char* name) { // a literal
    current_phase.store(name, std::memory_order_relaxed);
    beat();
}
