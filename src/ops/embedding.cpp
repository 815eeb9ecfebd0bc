// Embedding, and rows picked by a list.

#include "ops/install.h"

#include <cstring>
#include <omp.h>

namespace cpu {

// y_r = x[rows_r]
template <class T> static void pick(T* y, const T* x, const int32_t* rows, int64_t R, int64_t C) {
    each_row(R, R * C > 1 << 14,
             [&](int64_t r) { std::memcpy(y + r * C, x + rows[r] * C, C * sizeof(T)); });
}

template <class T> static void embedding_forward(Tensor y, Tensor w, Tensor ids) {
    const char* op = "embedding_forward";
    int64_t N = ids.size(), V = w.shape[0], C = w.shape[1];
    pick(arg<T>(op, "y", y, {N, C}), arg<T>(op, "w", w, {V, C}), arg<int32_t>(op, "ids", ids, {N}),
         N, C);
}

template <class T> static void gather_rows(Tensor y, Tensor x, Tensor rows) {
    const char* op = "gather_rows";
    int64_t R = rows.size(), N = x.shape[0], C = x.shape[1];
    pick(arg<T>(op, "y", y, {R, C}), arg<T>(op, "x", x, {N, C}),
         arg<int32_t>(op, "rows", rows, {R}), R, C);
}

// An id can occur often. Each thread owns some channels and takes the rows in order, so every element
// is summed in one order, whatever the number of threads.
template <class T> static void embedding_backward(Tensor dw, Tensor dy, Tensor ids) {
    const char* op = "embedding_backward";
    int64_t N = ids.size(), V = dw.shape[0], C = dw.shape[1];
    T* to = arg<T>(op, "dw", dw, {V, C});
    const T* from = arg<T>(op, "dy", dy, {N, C});
    const int32_t* id = arg<int32_t>(op, "ids", ids, {N});
#pragma omp parallel if (N * C > 1 << 14)
    {
        int64_t lines = (C + 15) / 16, threads = omp_get_num_threads(), t = omp_get_thread_num();
        int64_t first = lines * t / threads * 16,
                last = std::min(C, lines * (t + 1) / threads * 16);
        for (int64_t n = 0; n < N; ++n) {
            T* to_n = to + id[n] * C;
            const T* from_n = from + n * C;
            for (int64_t c = first; c < last; ++c) to_n[c] += from_n[c];
        }
    }
}

template <class T> static void scatter_rows(Tensor dx, Tensor dy, Tensor rows) {
    const char* op = "scatter_rows";
    int64_t R = rows.size(), N = dx.shape[0], C = dx.shape[1];
    T* to = arg<T>(op, "dx", dx, {N, C});
    const T* from = arg<T>(op, "dy", dy, {R, C});
    const int32_t* row = arg<int32_t>(op, "rows", rows, {R});
    each_row(R, R * C > 1 << 14, [&](int64_t r) {
        T* to_r = to + row[r] * C;
        const T* from_r = from + r * C;
        for (int64_t c = 0; c < C; ++c) to_r[c] += from_r[c];
    });
}

// A thread owns some channels of every row, so that it never reads what another has moved.
template <class T> static void compact_rows(Tensor x, Tensor rows) {
    const char* op = "compact_rows";
    int64_t R = rows.size(), N = x.shape[0], C = x.shape[1];
    T* data = arg<T>(op, "x", x, {N, C});
    const int32_t* row = arg<int32_t>(op, "rows", rows, {R});
    for (int64_t r = 0; r < R; ++r)
        CHECK(row[r] >= 0 && row[r] < N && (r == 0 || row[r] > row[r - 1]),
              "%s: row %d at %lld of the list; they increase and end below %lld", op, row[r],
              (long long)r, (long long)N);
#pragma omp parallel if (R * C > 1 << 14)
    {
        int64_t lines = (C + 15) / 16, threads = omp_get_num_threads(), t = omp_get_thread_num();
        int64_t first = lines * t / threads * 16,
                last = std::min(C, lines * (t + 1) / threads * 16);
        for (int64_t r = 0; r < R; ++r)
            if (row[r] != r && first < last)
                std::copy(data + row[r] * C + first, data + row[r] * C + last,
                          data + r * C + first);
    }
}

template <class T> void install_embedding(Ops& ops) {
    ops.embedding_forward = embedding_forward<T>;
    ops.embedding_backward = embedding_backward<T>;
    ops.gather_rows = gather_rows<T>;
    ops.scatter_rows = scatter_rows<T>;
    ops.compact_rows = compact_rows<T>;
}
template void install_embedding<float>(Ops&);
template void install_embedding<double>(Ops&);

} // namespace cpu
