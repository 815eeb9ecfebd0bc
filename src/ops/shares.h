#pragma once
// Rows by threads, above the ops: a thread takes its rows through several ops side by side with the
// others, and waits for them once.

#include <exception>
#include <omp.h>

// Calls f(first, count) for rows 0 .. rows-1: each thread for its share if `by_threads` and rows
// are enough, else for all of them at once. The ops in f then run on the calling thread alone.
template <class F> void for_shares(bool by_threads, int rows, const F& f) {
    if (!by_threads || rows < 8 * omp_get_max_threads()) return f(0, rows);
    std::exception_ptr failure;
#pragma omp parallel
    {
        const int t = omp_get_thread_num(), threads = omp_get_num_threads();
        const int first = rows * t / threads, last = rows * (t + 1) / threads;
        omp_set_num_threads(1); // of the ops in here
        try {
            f(first, last - first);
        } catch (...) {
#pragma omp critical
            failure = std::current_exception();
        }
    }
    if (failure) std::rethrow_exception(failure);
}
