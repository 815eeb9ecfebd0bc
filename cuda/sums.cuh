#pragma once
// Sums over the rows of a matrix, in a fixed order: partial sums of row chunks in scratch, then the
// chunks in order. Gradients of biases and of norm weights end here.

#include "device.cuh"

namespace gpu {

constexpr int most_partials = 256; // rows of partial sums, whatever the device

constexpr int sum_threads = 1024;
constexpr int rows_at_once = 2048; // that one launch adds up

// out_c += sum_r x_rc over `rows` rows of x (rows, columns), or without `add` =; with `chunk` < rows, block
// y sums rows y * chunk ... into row y of out instead (=). A warp reads 32 neighbouring columns of a row.
template <class T>
__global__ void __launch_bounds__(sum_threads)
    sum_rows_kernel(float* __restrict__ out, bool add, const T* __restrict__ x, int64_t rows,
                    int64_t columns, int64_t chunk) {
    __shared__ float part[sum_threads / 32][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const int64_t column = (int64_t)blockIdx.x * 32 + lane, first = blockIdx.y * chunk;
    const int64_t last = min(rows, first + chunk);
    float sum = 0;
    if (column < columns) {
        UNROLL_BY(4)
        for (int64_t r = first + warp; r < last; r += warps)
            sum += to_float(x[r * columns + column]);
    }
    part[warp][lane] = sum;
    __syncthreads();
    if (warp != 0 || column >= columns) return;
    sum = 0;
    for (int i = 0; i < warps; ++i) sum += part[i][lane];
    if (chunk < rows)
        out[blockIdx.y * columns + column] = sum;
    else
        out[column] = add ? out[column] + sum : sum;
}

// out_c += sum_r x_rc, or without `add` =. x may be scratch; `partial` is scratch of most_partials * columns
// floats, used where there are more than rows_at_once.
template <class T>
void column_sums(const char* op, float* out, bool add, const T* x, int64_t rows, int64_t columns,
                 float* partial) {
    const unsigned blocks = (unsigned)ceil_div(columns, 32);
    if (rows <= rows_at_once)
        return launch(op, sum_rows_kernel<T>, blocks, rows > 64 ? sum_threads : 256, 0, out, add, x,
                      rows, columns, rows);
    const int64_t chunk = ceil_div(rows, most_partials), chunks = ceil_div(rows, chunk);
    launch(op, sum_rows_kernel<T>, dim3(blocks, (unsigned)chunks), 256, 0, partial, false, x, rows,
           columns, chunk);
    launch(op, sum_rows_kernel<float>, blocks, sum_threads, 0, out, add, (const float*)partial,
           chunks, columns, chunks);
}

} // namespace gpu
