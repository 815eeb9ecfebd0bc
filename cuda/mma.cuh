#pragma once
// The PTX that the tiled attention kernels need, each instruction in one function: tensor-core products of
// bf16, loads of their operands from shared memory, asynchronous copies. On the host the same functions
// do the documented lane arithmetic [PTX ISA, sections 9.7.14 and 9.7.9.25] on what the lanes post, so that
// index errors show there, too.
//
// A warp holds matrices in pieces; with g = lane / 4 and q = lane % 4, and two neighbouring bf16 per word:
//   A (16, 16)  a0: (g, 2q)  a1: (g+8, 2q)  a2: (g, 2q+8)  a3: (g+8, 2q+8)
//   B (16, 8)   b0: (2q, g) and (2q+1, g)   b1: (2q+8, g) and (2q+9, g)
//   C (16, 8)   c0, c1: (g, 2q), (g, 2q+1)  c2, c3: (g+8, 2q), (g+8, 2q+1)   f32

#include "device.cuh"

namespace gpu {

// C += A B
__device__ __forceinline__ void mma16816(float (&c)[4], const unsigned (&a)[4], unsigned b0,
                                         unsigned b1) {
#ifdef __CUDACC__
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    const unsigned b[2] = {b0, b1};
    float row[2][16], column[2][16]; // rows g and g + 8 of A, columns 2q and 2q + 1 of B
    auto half = [](const unsigned char* words, int word, int i) {
        bf16 x;
        memcpy(&x, words + word * 4 + i * 2, sizeof x);
        return to_float(x);
    };
    // element k of a row or column: lane k % 8 / 2 of its four, word k / 8 of that lane, half k % 2
    cusim::Posts posts = cusim::warp_meet(all_lanes, a, sizeof a);
    for (int i = 0; i < 2; ++i)
        for (int k = 0; k < 16; ++k)
            row[i][k] = half(posts[g * 4 + k % 8 / 2], k / 8 * 2 + i, k % 2);
    posts = cusim::warp_meet(all_lanes, b, sizeof b);
    for (int i = 0; i < 2; ++i)
        for (int k = 0; k < 16; ++k)
            column[i][k] = half(posts[(2 * q + i) * 4 + k % 8 / 2], k / 8, k % 2);
    for (int i = 0; i < 4; ++i)
        for (int k = 0; k < 16; ++k) c[i] += row[i / 2][k] * column[i % 2][k];
#endif
}

// Four 8 x 8 matrices: lane 8 i + r points at row r of matrix i, 16 bytes in shared memory. Word i of a
// lane is (g, 2q), (g, 2q+1) of matrix i; with `transposed`, of its transpose.
template <bool transposed>
__device__ __forceinline__ void ldmatrix_x4(unsigned (&words)[4], const bf16* row) {
#ifdef __CUDACC__
    const unsigned at = (unsigned)__cvta_generic_to_shared(row);
    if constexpr (transposed)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                     : "r"(at)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                     : "r"(at)
                     : "memory");
#else
    const cusim::Posts posts = cusim::warp_meet(all_lanes, &row, sizeof row);
    const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    auto element = [&](int matrix, int r, int c) {
        const bf16* of_row;
        memcpy(&of_row, posts[8 * matrix + r], sizeof of_row);
        return (unsigned)__bfloat16_as_ushort(of_row[c]);
    };
    for (int i = 0; i < 4; ++i)
        words[i] = transposed ? element(i, 2 * q, g) | element(i, 2 * q + 1, g) << 16
                              : element(i, g, 2 * q) | element(i, g, 2 * q + 1) << 16;
#endif
}

// A thread's copies from global to shared memory that run beside its work: copy16 and copy8 start one of 16 or
// 8 bytes (zeros if not `valid`), commit ends a group, wait<n> returns when all but the last n groups are there;
// other threads see them after a barrier. The host copies at the wait, as late as allowed.
struct AsyncCopies {
#ifdef __CUDACC__
    __device__ __forceinline__ void copy16(void* shared, const void* global, bool valid) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                         (unsigned)__cvta_generic_to_shared(shared)),
                     "l"(global), "r"(valid ? 16 : 0)
                     : "memory");
    }
    __device__ __forceinline__ void copy8(void* shared, const void* global, bool valid) {
        asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(
                         (unsigned)__cvta_generic_to_shared(shared)),
                     "l"(global), "r"(valid ? 8 : 0)
                     : "memory");
    }
    __device__ __forceinline__ void commit() {
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    template <int left> __device__ __forceinline__ void wait() {
        asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
    }
#else
    struct Copy {
        void* to;
        const void* from; // null: zeros
        int bytes;
    };
    static constexpr unsigned most = 64, most_groups = 16; // that wait; on the thread's stack
    Copy copies[most];
    unsigned first = 0, next = 0; // those of them that wait, modulo `most`
    unsigned ends[most_groups], first_group = 0, next_group = 0;

    void copy(void* shared, const void* global, bool valid, int bytes) {
        if (next - first == most) cusim::die("more than %u asynchronous copies wait", most);
        if (valid) cusim::note_copy_source(global, bytes);
        cusim::note_copy_started(shared, bytes);
        copies[next++ % most] = {shared, valid ? global : nullptr, bytes};
    }
    void copy16(void* shared, const void* global, bool valid) { copy(shared, global, valid, 16); }
    void copy8(void* shared, const void* global, bool valid) { copy(shared, global, valid, 8); }
    void commit() {
        if (next_group - first_group == most_groups)
            cusim::die("more than %u groups of copies wait", most_groups);
        ends[next_group++ % most_groups] = next;
    }
    template <int left> void wait() {
        while (next_group - first_group > left)
            for (const unsigned end = ends[first_group++ % most_groups]; first != end; ++first) {
                const Copy& copy = copies[first % most];
                for (int i = 0; i < copy.bytes; i += 4)
                    *(Word*)((char*)copy.to + i) =
                        copy.from ? *(const Word*)((const char*)copy.from + i) : 0;
            }
    }
#endif
};

} // namespace gpu
