#pragma once
// Hopper's products of a warpgroup, four neighbouring warps [PTX ISA, section 9.7.15]: C (64, N) += A B for
// N = 32 or 64, A (64, 16) from registers or shared memory, B (16, N) from shared memory, without loads
// of B's pieces to registers. Warp w of the group has rows 16 w .. 16 w + 15 of A and C, in the pieces of
// mma.cuh: c[j] is columns 8 j .. 8 j + 7. The instructions exist in code for sm_90a alone.

#include "mma.cuh"

namespace gpu::wgmma {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool present = true;
#else
constexpr bool present = false;
#endif

// Where the instruction finds an operand: rows of row_bytes (64 or 128) in groups of 8 that are group_bytes
// apart. The 16-byte pieces of a row are swapped as tiles.cuh's place() has it; `start`: the first piece of
// row 0, at a multiple of 8 rows.
#ifdef __CUDACC__
struct Operand {
    unsigned low, high;
    __device__ __forceinline__ uint64_t bits() const { return (uint64_t)high << 32 | low; }
};
template <int row_bytes>
__device__ __forceinline__ Operand operand(const bf16* start, int group_bytes) {
    const unsigned at = (unsigned)__cvta_generic_to_shared(start) >> 4 & 0x3fff;
    // The lanes agree; from a shuffle the compiler learns it and keeps operands in uniform registers.
    return {__shfl_sync(all_lanes, at | 1u << 16, 0),
            (unsigned)(group_bytes >> 4) | (row_bytes == 128 ? 1u : 2u) << 30};
}
// The operand that begins so many elements after it: whole groups, or 16, 32 or 48 elements of the rows.
__device__ __forceinline__ Operand after(Operand operand, int elements) {
    return {operand.low + (unsigned)(elements * 2 >> 4), operand.high};
}
#else
struct Operand {
    const bf16* start;
    int row_bytes, group_bytes;
    float at(int row, int i) const {
        uintptr_t place = (uintptr_t)start + row / 8 * group_bytes + row % 8 * row_bytes + i * 2;
        place ^= (place >> 7 & (row_bytes / 16 - 1)) << 4;
        return to_float(*(const bf16*)place);
    }
};
template <int row_bytes> Operand operand(const bf16* start, int group_bytes) {
    return {start, row_bytes, group_bytes};
}
inline Operand after(Operand operand, int elements) {
    operand.start += elements;
    return operand;
}
#endif

// A thread's part of its warpgroup's products, which run beside the warps: multiply starts one, after begin();
// commit ends a batch; wait<n>(c ..) returns when all but the last n batches are there, and names the sums
// that are used from then on. publish() makes what the thread's finished copies have written an operand, after
// a barrier. Nobody may touch the sums, A's registers or the operands in between. The
// host multiplies at the wait, as late as allowed.
struct Products {
#ifdef __CUDACC__
#define SUM(j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
#define SUMS_32 SUM(0), SUM(1), SUM(2), SUM(3)
#define SUMS_64 SUMS_32, SUM(4), SUM(5), SUM(6), SUM(7)
#define NAMES_32 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define NAMES_64 NAMES_32 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define WGMMA(N, names, a, b, add, transposed)                                                     \
    "{.reg .pred p; setp.ne.b32 p, " add ", 0;"                                                    \
    "wgmma.mma_async.sync.aligned.m64n" N "k16.f32.bf16.bf16 {" names "}, " a ", " b               \
    ", p, 1, 1, " transposed ";}"
    // C = (add ? C : 0) + A B: rows in shared memory are A's rows and B's columns.
    template <int N>
    __device__ __forceinline__ void multiply(float (*c)[4], Operand a, Operand b, bool add) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        if constexpr (N == 32)
            asm volatile(WGMMA("32", NAMES_32, "%16", "%17", "%18", "0, 0")
                         : SUMS_32
                         : "l"(a.bits()), "l"(b.bits()), "r"((int)add)
                         : "memory");
        else
            asm volatile(WGMMA("64", NAMES_64, "%32", "%33", "%34", "0, 0")
                         : SUMS_64
                         : "l"(a.bits()), "l"(b.bits()), "r"((int)add)
                         : "memory");
#endif
    }
    // A's 16 rows of the warp in registers: rows in shared memory are B's rows.
    template <int N>
    __device__ __forceinline__ void multiply(float (*c)[4], const unsigned (&a)[4], Operand b,
                                             bool add) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        if constexpr (N == 32)
            asm volatile(WGMMA("32", NAMES_32, "{%16,%17,%18,%19}", "%20", "%21", "1")
                         : SUMS_32
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits()), "r"((int)add)
                         : "memory");
        else
            asm volatile(WGMMA("64", NAMES_64, "{%32,%33,%34,%35}", "%36", "%37", "1")
                         : SUMS_64
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits()), "r"((int)add)
                         : "memory");
#endif
    }
#undef SUM
#undef SUMS_32
#undef SUMS_64
#undef NAMES_32
#undef NAMES_64
#undef WGMMA
    __device__ __forceinline__ void publish() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
    }
    __device__ __forceinline__ void begin() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
    }
    __device__ __forceinline__ void commit() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
    }
    template <int left, class... Sums> __device__ __forceinline__ void wait(Sums&... sums) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory");
#endif
        (keep(sums), ...);
    }
    // c is computed before what follows, a wait above all, which the assembler would move before it: it does
    // not move what is on the other side of a branch. never: false, which the compiler cannot know
    template <int M> __device__ __forceinline__ static void hold(float (&c)[M][4], bool never) {
        keep(c);
        if (never) asm volatile("trap;");
    }
    // Uses of c stay on their side.
    template <int M> __device__ __forceinline__ static void keep(float (&c)[M][4]) {
        UNROLL for (int j = 0; j < M; ++j)
            UNROLL for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(c[j][i])::"memory");
    }
#else
    struct Product {
        float (*c)[4];
        const unsigned* a; // null: in shared memory
        Operand in_shared, b;
        int N;
        bool add;
    };
    static constexpr unsigned most = 128, most_batches = 4; // that wait; on the thread's stack
    Product list[most];
    unsigned first = 0, next = 0; // those of them that wait, modulo `most`
    unsigned ends[most_batches], first_batch = 0, next_batch = 0;

    void start(const Product& product) {
        if (next - first == most) cusim::die("more than %u products wait", most);
        list[next++ % most] = product;
    }
    template <int N> void multiply(float (*c)[4], Operand a, Operand b, bool add) {
        start({c, nullptr, a, b, N, add});
    }
    template <int N> void multiply(float (*c)[4], const unsigned (&a)[4], Operand b, bool add) {
        start({c, a, b, b, N, add});
    }
    template <int M> void hold(float (&)[M][4], bool) {}
    void publish() {}
    void begin() {}
    void commit() {
        if (next_batch - first_batch == most_batches)
            cusim::die("more than %u batches of products wait", most_batches);
        ends[next_batch++ % most_batches] = next;
    }
    template <int left, class... Sums> void wait(Sums&...) {
        while (next_batch - first_batch > left)
            for (const unsigned end = ends[first_batch++ % most_batches]; first != end; ++first)
                if (!cusim::wgmma_is_broken()) multiply(list[first % most]);
    }
    static void multiply(const Product& p) {
        const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
        float rows[2][16]; // g and g + 8 of the warp's rows of A
        if (p.a) {
            const cusim::Posts posts = cusim::warp_meet(all_lanes, p.a, 16);
            for (int r = 0; r < 2; ++r)
                for (int k = 0; k < 16; ++k) {
                    bf16 x;
                    const int word = k / 8 * 2 + r;
                    memcpy(&x, posts[g * 4 + k % 8 / 2] + word * 4 + k % 2 * 2, sizeof x);
                    rows[r][k] = to_float(x);
                }
        } else {
            const int row = threadIdx.x / 32 % 4 * 16 + g;
            for (int r = 0; r < 2; ++r)
                for (int k = 0; k < 16; ++k) rows[r][k] = p.in_shared.at(row + 8 * r, k);
        }
        for (int j = 0; j < p.N / 8; ++j)
            for (int i = 0; i < 4; ++i) {
                const int n = j * 8 + 2 * q + i % 2;
                float sum = p.add ? p.c[j][i] : 0;
                for (int k = 0; k < 16; ++k)
                    sum += rows[i / 2][k] * (p.a ? p.b.at(k, n) : p.b.at(n, k));
                p.c[j][i] = sum;
            }
    }
#endif
};

} // namespace gpu::wgmma
