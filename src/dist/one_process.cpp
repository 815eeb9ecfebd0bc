// A binary without MPI is one process, however it was started.

#include "dist/board.h"
#include "dist/processes.h"

#include <cstdlib>

Processes join_processes() {
    CHECK(launched_processes() <= 1,
          "%d processes were started, but this binary was built without MPI and would do the same "
          "work %d times; install Open MPI (libopenmpi-dev, openmpi-bin) and build again, or start "
          "one process",
          launched_processes(), launched_processes());
    return {};
}

void broadcast_bytes(void*, size_t) {}
void leave_processes() {}
void abort_processes(int status) { std::exit(status); }
Collectives host_collectives() { return one_rank(); }
std::vector<std::string> exchange_bytes(const std::vector<std::string>& to) { return to; }
void* shared_memory(size_t bytes) { return own_memory(bytes); }

// A board of one process has no window.
Window* open_window(int64_t, size_t) { return nullptr; }
void close_window(Window*) {}
int64_t window_add(Window*, int64_t, int64_t) { return 0; }
void window_write(Window*, int64_t, int64_t) {}
int64_t window_exchange(Window*, int64_t, int64_t, int64_t) { return 0; }
void window_show(Window*, size_t, const std::string&) {}
std::string window_bytes(Window*, int, size_t, size_t) { return {}; }
void window_progress(Window*) {}
