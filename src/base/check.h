#pragma once
// Errors. A message says what is wrong, what was found, and what to do. Every failed CHECK throws
// Error; main() catches it, prints "error: MESSAGE" and exits with status 1. Nothing else throws,
// and nothing else catches, except code that owns a temporary file and removes it.

#include <stdexcept>
#include <string>

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// printf-style message, thrown as Error.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// printf into a std::string.
std::string format(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Always compiled in. Not inside parallel regions: an exception cannot leave them.
#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) [[unlikely]]                                                             \
            fail(__VA_ARGS__);                                                                     \
    } while (0)
