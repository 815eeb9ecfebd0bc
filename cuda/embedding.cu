// Embedding, and rows picked by a list.

#include "device.cuh"

namespace gpu {

// y_r = x[rows_r]: a warp per row. Part: uint4 or one element.   row: parts per row
template <class Part>
__global__ void __launch_bounds__(128)
    pick_rows_kernel(Part* __restrict__ y, const Part* __restrict__ x, const int* __restrict__ rows,
                     int64_t R, int64_t row) {
    const int64_t r = (int64_t)blockIdx.x * 4 + threadIdx.x / 32;
    if (r >= R) return;
    const Part* from = x + rows[r] * row;
    Part* to = y + r * row;
    UNROLL_BY(4) for (int64_t i = threadIdx.x % 32; i < row; i += 32) to[i] = from[i];
}

// dx[rows_r] += dy_r
template <class T, int W>
__global__ void __launch_bounds__(128)
    add_rows_kernel(T* __restrict__ dx, const T* __restrict__ dy, const int* __restrict__ rows,
                    int64_t R, int64_t C) {
    const int64_t r = (int64_t)blockIdx.x * 4 + threadIdx.x / 32;
    if (r >= R) return;
    const T* from = dy + r * C;
    T* to = dx + rows[r] * C;
    UNROLL_BY(2) for (int64_t c = threadIdx.x % 32 * W; c < C; c += 32 * W) {
        Floats<W> sum = load<W>(to + c);
        const Floats<W> more = load<W>(from + c);
        UNROLL for (int i = 0; i < W; ++i) sum.v[i] += more.v[i];
        store(to + c, sum);
    }
}

// dw[id] += sum of dy_n over the n with ids_n = id, in order of n. Block r does id = ids_r, if no earlier
// row has it. Threads own channels; the ids are searched 1024 at a time, and those found are listed.
template <class T, int W>
__global__ void __launch_bounds__(128, 4)
    embedding_backward_kernel(float* __restrict__ dw, const T* __restrict__ dy,
                              const int* __restrict__ ids, int N, int64_t C) {
    constexpr int per_thread = 8, stretch = 128 * per_thread;
    __shared__ int found[stretch];
    __shared__ int before[4];
    const int first = blockIdx.x, id = ids[first], lane = threadIdx.x % 32, warp = threadIdx.x / 32;

    for (int at = 0; at < first; at += stretch) {
        bool earlier = false;
        UNROLL for (int i = 0; i < per_thread; ++i) {
            const int n = at + i * 128 + threadIdx.x;
            earlier |= n < first && ids[n] == id;
        }
        if (__syncthreads_or(earlier)) return;
    }

    for (int at = first; at < N; at += stretch) {
        // thread t looks at 8 neighbours, so that the list is in order
        unsigned same = 0;
        UNROLL for (int i = 0; i < per_thread; ++i) {
            const int n = at + threadIdx.x * per_thread + i;
            same |= (unsigned)(n < N && ids[n] == id) << i;
        }
        const int own = __popc(same);
        int end = own; // of this thread's part of the list: a prefix sum
        for (int step = 1; step < 32; step *= 2) {
            const int other = __shfl_up_sync(all_lanes, end, step);
            if (lane >= step) end += other;
        }
        if (lane == 31) before[warp] = end;
        __syncthreads();
        int count = 0;
        for (int i = 0; i < 4; ++i) {
            if (i == warp) end += count;
            count += before[i];
        }
        for (int place = end - own; same; same &= same - 1)
            found[place++] = at + threadIdx.x * per_thread + __ffs((int)same) - 1;
        __syncthreads();
        if (count == 0) continue; // the same for all threads
        for (int64_t c = (int64_t)threadIdx.x * W; c < C; c += 128 * W) {
            Floats<W> sum = load<W>(dw + id * C + c);
            UNROLL_BY(2) for (int i = 0; i < count; ++i) {
                const Floats<W> more = load<W>(dy + found[i] * C + c);
                UNROLL for (int k = 0; k < W; ++k) sum.v[k] += more.v[k];
            }
            store(dw + id * C + c, sum);
        }
    }
}

template <class T>
static void pick(const char* op, T* y, const T* x, const int* rows, int64_t R, int64_t C) {
    const unsigned blocks = (unsigned)ceil_div(R, 4);
    if (C * sizeof(T) % 16 == 0 && is_aligned(y, x))
        launch(op, pick_rows_kernel<uint4>, blocks, 128, 0, (uint4*)y, (const uint4*)x, rows, R,
               C * (int64_t)sizeof(T) / 16);
    else
        launch(op, pick_rows_kernel<T>, blocks, 128, 0, y, x, rows, R, C);
}

template <class T> static void embedding_forward(Tensor y, Tensor w, Tensor ids) {
    const char* op = "embedding_forward";
    const int64_t N = ids.size(), V = w.shape[0], C = w.shape[1];
    pick<T>(op, arg<T>(op, "y", y, {N, C}), arg<T>(op, "w", w, {V, C}),
            arg<int>(op, "ids", ids, {N}), N, C);
}

template <class T> static void gather_rows(Tensor y, Tensor x, Tensor rows) {
    const char* op = "gather_rows";
    const int64_t R = rows.size(), N = x.shape[0], C = x.shape[1];
    pick<T>(op, arg<T>(op, "y", y, {R, C}), arg<T>(op, "x", x, {N, C}),
            arg<int>(op, "rows", rows, {R}), R, C);
}

template <class T> static void scatter_rows(Tensor dx_, Tensor dy_, Tensor rows_) {
    const char* op = "scatter_rows";
    const int64_t R = rows_.size(), N = dx_.shape[0], C = dx_.shape[1];
    T* dx = arg<T>(op, "dx", dx_, {N, C});
    const T* dy = arg<T>(op, "dy", dy_, {R, C});
    const int* rows = arg<int>(op, "rows", rows_, {R});
    with_width(C % full_width == 0 && is_aligned(dx, dy), [&](auto W) {
        launch(op, add_rows_kernel<T, W>, (unsigned)ceil_div(R, 4), 128, 0, dx, dy, rows, R, C);
    });
}

template <class T> static void embedding_backward(Tensor dw_, Tensor dy_, Tensor ids_) {
    const char* op = "embedding_backward";
    const int64_t N = ids_.size(), V = dw_.shape[0], C = dw_.shape[1];
    float* dw = arg<float>(op, "dw", dw_, {V, C});
    const T* dy = arg<T>(op, "dy", dy_, {N, C});
    const int* ids = arg<int>(op, "ids", ids_, {N});
    with_width(C % full_width == 0 && is_aligned(dw, dy), [&](auto W) {
        launch(op, embedding_backward_kernel<T, W>, (unsigned)N, 128, 0, dw, dy, ids, (int)N, C);
    });
}

template <class T> void install_embedding(Ops& ops) {
    ops.embedding_forward = embedding_forward<T>;
    ops.embedding_backward = embedding_backward<T>;
    ops.gather_rows = gather_rows<T>;
    ops.scatter_rows = scatter_rows<T>;
}
template void install_embedding<float>(Ops&);
template void install_embedding<bf16>(Ops&);

} // namespace gpu
