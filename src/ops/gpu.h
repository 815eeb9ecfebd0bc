#pragma once
// The GPU as the rest of the program sees it: what there is, and which one a thread works on. A binary
// that was built without CUDA has these functions, too (without_gpu.cpp): it finds no GPU and says why.

#include "ops/ops.h"

struct GpuInfo {
    std::string name;
    int major = 0, minor = 0; // compute capability
    int multiprocessors = 0;
    double memory_bytes = 0, free_bytes = 0;
};

// Whether this binary has GPU code.
bool gpu_in_build();

// How many GPUs there are that the backend can use. An error says why there is none.
int gpu_count();

// The device of the calling thread, 0 without this call. A rank is a process or a thread: each has its
// own device, stream and scratch. Called before the thread's first op.
void gpu_select(int device);
GpuInfo gpu_info();

// The cudaStream_t on which the calling thread's ops run one after another.
void* gpu_stream();

// Keeps the calling thread's choices of algorithms for matrix products in this file: those that stand in it
// are taken, new ones are added. A run that goes on takes the ones that it began with, and so has their bits.
void gpu_keep_choices(const std::string& path);

// Device memory that the ops themselves hold: the GEMM library's workspace and scratch.
size_t gpu_scratch_bytes();
