// The board in a window of MPI: each rank's part holds its bytes, the first one's the numbers before them.

#include "dist/board.h"
#include "base/check.h"

#include <cstring>
#define OMPI_SKIP_MPICXX 1 // the old C++ interface
#include <mpi.h>

struct Window {
    MPI_Win win = MPI_WIN_NULL;
    char* memory = nullptr; // this rank's
    int rank = 0;
    MPI_Aint bytes_at = 0; // behind the numbers
};

static void check(int result, const char* what) {
    CHECK(result == MPI_SUCCESS,
          "%s failed; is the library's one-sided communication switched off?", what);
}

Window* open_window(int64_t numbers, size_t bytes) {
    int started = 0;
    MPI_Initialized(&started);
    if (!started) return nullptr;
    Window* window = new Window;
    MPI_Comm_rank(MPI_COMM_WORLD, &window->rank);
    window->bytes_at = (MPI_Aint)(numbers * (int64_t)sizeof(int64_t));
    const MPI_Aint size = window->bytes_at + (MPI_Aint)bytes;
    check(MPI_Win_allocate(size, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &window->memory, &window->win),
          "MPI_Win_allocate");
    std::memset(window->memory, 0, (size_t)window->bytes_at);
    MPI_Barrier(MPI_COMM_WORLD);
    check(MPI_Win_lock_all(MPI_MODE_NOCHECK, window->win), "MPI_Win_lock_all");
    return window;
}

void close_window(Window* window) {
    MPI_Win_unlock_all(window->win);
    MPI_Win_free(&window->win);
    delete window;
}

static MPI_Aint at(int64_t place) { return (MPI_Aint)(place * (int64_t)sizeof(int64_t)); }

static int64_t fetch(Window* window, int64_t place, int64_t value, MPI_Op op) {
    int64_t before = 0;
    MPI_Fetch_and_op(&value, &before, MPI_INT64_T, 0, at(place), op, window->win);
    check(MPI_Win_flush(0, window->win), "MPI_Fetch_and_op");
    return before;
}

int64_t window_add(Window* window, int64_t place, int64_t value) {
    return fetch(window, place, value, MPI_SUM);
}

void window_write(Window* window, int64_t place, int64_t value) {
    fetch(window, place, value, MPI_REPLACE);
}

int64_t window_exchange(Window* window, int64_t place, int64_t expected, int64_t wanted) {
    int64_t before = 0;
    MPI_Compare_and_swap(&wanted, &expected, &before, MPI_INT64_T, 0, at(place), window->win);
    check(MPI_Win_flush(0, window->win), "MPI_Compare_and_swap");
    return before;
}

void window_show(Window* window, size_t offset, const std::string& bytes) {
    std::memcpy(window->memory + window->bytes_at + offset, bytes.data(), bytes.size());
    MPI_Win_sync(window->win);
}

std::string window_bytes(Window* window, int rank, size_t offset, size_t count) {
    std::string bytes(count, '\0');
    MPI_Get(bytes.data(), (int)count, MPI_BYTE, rank, window->bytes_at + (MPI_Aint)offset,
            (int)count, MPI_BYTE, window->win);
    check(MPI_Win_flush(rank, window->win), "MPI_Get");
    return bytes;
}

void window_progress(Window*) {
    int arrived = 0;
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &arrived, MPI_STATUS_IGNORE);
}
