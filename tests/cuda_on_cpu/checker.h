#pragma once
// Hooks of the access checker (checker.cpp). Weak: only the cuda-check build links it.

#include <cstddef>

#define CUSIM_HOOK extern "C" __attribute__((weak)) void
CUSIM_HOOK cusim_check_launch();
CUSIM_HOOK cusim_check_block_start(const void* dynamic_shared, size_t bytes);
CUSIM_HOOK cusim_check_block_sync();
CUSIM_HOOK cusim_check_warp_sync(unsigned mask);
CUSIM_HOOK cusim_check_atomic(const void* p, size_t bytes, void* program_counter);
CUSIM_HOOK cusim_check_allocated(const void* p, size_t bytes);
CUSIM_HOOK cusim_check_freed(const void* p);
CUSIM_HOOK cusim_check_written(const void* p, size_t bytes);
#undef CUSIM_HOOK

#define CUSIM_CHECKER(call)                                                                        \
    do {                                                                                           \
        if (cusim_check_launch) call;                                                              \
    } while (0)
