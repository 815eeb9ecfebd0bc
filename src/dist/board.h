#pragma once
// What ranks tell each other without being asked: numbers that all of them see and change, kept by the
// first, and bytes that each shows to the others. One-sided: whoever is asked need not listen, where the
// ranks are on one machine; over a network the library may answer only while the owner calls it, so that
// an owner calls progress() between two decode steps. With one process it is memory of its own.

#include <cstdint>
#include <string>
#include <vector>

struct Window; // dist/mpi/board.cpp; none in one process

struct Board {
    // All ranks together. numbers: 0 at first; bytes: that each rank may show.
    Board(int64_t numbers, size_t bytes);
    Board(const Board&) = delete;
    ~Board(); // all ranks together

    int64_t add(int64_t place, int64_t value);            // returns what stood there
    int64_t read(int64_t place) { return add(place, 0); } // 0 is added: what others see, too
    void write(int64_t place, int64_t value);
    // Puts `wanted` where `expected` stands; whether it stood there.
    bool exchange(int64_t place, int64_t expected, int64_t wanted);
    // This rank's bytes become visible; an error where they do not fit.
    void show(size_t offset, const std::string& bytes);
    std::string bytes_of(int rank, size_t offset, size_t count);
    void progress();
    // Every rank adds one a hundred times: whether they arrive, within so many seconds.
    bool works(int ranks, double seconds = 20);

    const int64_t numbers;
    const size_t shown;

private:
    int64_t place_for_test() const { return numbers; } // one more than was asked for
    Window* window;
    std::vector<int64_t> own_numbers; // without a window
    std::string own_bytes;
};

// Below: mpi/board.cpp, or one_process.cpp, where there is no window.
Window* open_window(int64_t numbers, size_t bytes);
void close_window(Window* window);
int64_t window_add(Window* window, int64_t place, int64_t value);
void window_write(Window* window, int64_t place, int64_t value);
int64_t window_exchange(Window* window, int64_t place, int64_t expected, int64_t wanted);
void window_show(Window* window, size_t offset, const std::string& bytes);
std::string window_bytes(Window* window, int rank, size_t offset, size_t count);
void window_progress(Window* window);
