#pragma once
// The engine behind the stand-in headers: what the host versions of warp instructions (cuda/device.cuh)
// and the stand-in libraries (cuBLAS, NCCL) use of it. Kernels themselves use cuda_runtime.h only.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>

struct uint3 {
    unsigned x, y, z;
};

struct CUstream_st;

namespace cusim {

// The CUDA thread that runs now; null in host code.
struct Thread {
    uint3 index;
    int number; // in the block
    int lane;   // in the warp
};
extern thread_local constinit Thread* self;
extern thread_local constinit unsigned char* dynamic_shared; // of the block that runs now

// All lanes of `mask` meet: each posts up to 16 bytes and gets all 32 posts, which stay valid until the
// second meeting of the same mask after this one. Every warp-collective instruction is this and a line
// that picks from the result, by the documented lane layout:
//     auto posts = cusim::warp_meet(mask, &value, sizeof value);   memcpy(&other, posts[lane], ...);
// Registers of more than 16 bytes: post a pointer to them, and meet once more before they change.
// `orders_memory` is true for __syncwarp alone: shuffles and votes order no memory accesses.
using Posts = const unsigned char (*)[16];
Posts warp_meet(unsigned mask, const void* value, size_t bytes, bool orders_memory = false);

// __syncthreads, with the place in the source: threads that meet at different places are a fault. How many
// threads came with a vote.
int block_meet(const char* file, int line, bool vote = false);

// Tells the access checker of an atomic read-modify-write.
void note_atomic(const void* p, size_t bytes);
// Tells it that an asynchronous copy was started, which may write from now on.
void note_copy_source(const void* from, size_t bytes); // which may be read from now on
void note_copy_started(const void* to, size_t bytes);
// Tells it that the block has waited for the launches before its own, if that began early
// (programmatic dependent launch), or has seen that other blocks of its launch are done.
void note_launches_waited_for();
void note_blocks_seen();
// Tells it that a library has written device memory, or is about to read it.
void note_written(const void* p, size_t bytes);
void note_read(const void* p, size_t bytes);

// Appends work to a stream. In a captured stream it becomes a node of the graph.
void enqueue(CUstream_st* stream, std::function<void()> work);

// Whether products of warpgroups are to do nothing (CUSIM_WGMMA=broken).
bool wgmma_is_broken();

// Whether p .. p + bytes lies in one allocation of device memory.
bool is_device(const void* p, size_t bytes);

// "cuda stand-in: MESSAGE" and abort: for what a device would answer by a hang or by wrong numbers.
[[noreturn]] void die(const char* format, ...) __attribute__((format(printf, 1, 2)));

} // namespace cusim
