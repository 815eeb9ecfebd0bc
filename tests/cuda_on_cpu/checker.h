#pragma once
// Hooks of the access checker (checker.cpp). Weak: only `make cuda-check` links it.

#include <cstddef>
#include <string>
#include <vector>

#define CUSIM_HOOK extern "C" __attribute__((weak)) void
CUSIM_HOOK cusim_check_runtime(const void* p,
                               size_t bytes); // memory of the engine that kernels read
CUSIM_HOOK cusim_check_launch(const void* arguments, size_t bytes, bool may_begin_early);
CUSIM_HOOK cusim_check_block_start(const void* dynamic_shared, size_t bytes);
CUSIM_HOOK cusim_check_block_sync();
CUSIM_HOOK cusim_check_warp_sync(unsigned mask);
CUSIM_HOOK cusim_check_atomic(const void* p, size_t bytes, void* place);
CUSIM_HOOK cusim_check_launches_waited_for();
CUSIM_HOOK cusim_check_blocks_seen();
CUSIM_HOOK cusim_check_copy_source(const void* from, size_t bytes, void* place);
CUSIM_HOOK cusim_check_copy_started(const void* to, size_t bytes, void* place);
CUSIM_HOOK cusim_check_allocated(const void* p, size_t bytes);
CUSIM_HOOK cusim_check_freed(const void* p);
CUSIM_HOOK cusim_check_written(const void* p, size_t bytes);
CUSIM_HOOK cusim_check_library_wrote(const void* p, size_t bytes);
CUSIM_HOOK cusim_check_read(const void* p, size_t bytes);
#undef CUSIM_HOOK

#define CUSIM_CHECKER(call)                                                                        \
    do {                                                                                           \
        if (cusim_check_launch) call;                                                              \
    } while (0)

namespace cusim {
// What was found since the last call.
std::vector<std::string> take_reports();
} // namespace cusim
