#include "dist/board.h"

#include "base/beat.h"
#include "base/check.h"
#include "base/clock.h"

#include <exception>
#include <unistd.h>

Board::Board(int64_t numbers_, size_t bytes)
    : numbers(numbers_), shown(bytes), window(open_window(numbers_ + 1, bytes)) {
    if (window) return;
    own_numbers.assign((size_t)numbers + 1, 0);
    own_bytes.assign(bytes, '\0');
}

Board::~Board() {
    if (window && !std::uncaught_exceptions()) close_window(window);
}

int64_t Board::add(int64_t place, int64_t value) {
    if (window) return window_add(window, place, value);
    const int64_t before = own_numbers[(size_t)place];
    own_numbers[(size_t)place] += value;
    return before;
}

void Board::write(int64_t place, int64_t value) {
    if (window) return window_write(window, place, value);
    own_numbers[(size_t)place] = value;
}

bool Board::exchange(int64_t place, int64_t expected, int64_t wanted) {
    if (window) return window_exchange(window, place, expected, wanted) == expected;
    const bool equal = own_numbers[(size_t)place] == expected;
    if (equal) own_numbers[(size_t)place] = wanted;
    return equal;
}

void Board::show(size_t offset, const std::string& bytes) {
    CHECK(offset <= shown && bytes.size() <= shown - offset,
          "%zu bytes at %zu do not fit the %zu that a rank may show", bytes.size(), offset, shown);
    if (window) return window_show(window, offset, bytes);
    own_bytes.replace(offset, bytes.size(), bytes);
}

std::string Board::bytes_of(int rank, size_t offset, size_t count) {
    CHECK(offset <= shown && count <= shown - offset,
          "%zu bytes at %zu are more than the %zu that a rank may show", count, offset, shown);
    if (window) return window_bytes(window, rank, offset, count);
    return own_bytes.substr(offset, count);
}

void Board::progress() {
    if (window) window_progress(window);
}

bool Board::works(int ranks, double seconds) {
    const int64_t each = 100, place = place_for_test();
    for (int64_t i = 0; i < each; ++i) add(place, 1);
    for (const double end = now() + seconds; now() < end; ::usleep(100)) {
        beat();
        for (int i = 0; i < 100; ++i) progress(); // others' additions wait for the owner to look
        if (read(place) == each * ranks) return true;
    }
    return false;
}
