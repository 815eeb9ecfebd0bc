#pragma once
// What the parts of the engine share: engine.cpp runs a grid, streams.cpp decides when, memory.cpp holds
// device memory, device.cpp describes the pretended device. Settings from the environment:
//     CUSIM_ORDER=forward|reverse|random     order of threads and blocks
//     CUSIM_STREAMS=eager|lazy|random        when the work of a stream runs
//     CUSIM_SEED=number                      of the random orders
//     CUSIM_DEVICES=number, CUSIM_SM=number, CUSIM_MEMORY_MIB=number, CUSIM_DRIVER=none
//                                            the pretended devices: 0 of them, sm_75, a full card, ...
//     CUSIM_WGMMA=right|broken               what a warpgroup's products do

#include <cuda_runtime.h>

#include <optional>
#include <random>
#include <string>

namespace cusim {

enum class ThreadOrder { forward, reverse, random };
enum class StreamOrder { eager, lazy, random };
extern ThreadOrder thread_order; // as the environment says, until a test sets them
extern StreamOrder stream_order;

// The place of a setting's value in the list of its names; the first where it is not set.
int setting(const char* name, std::initializer_list<const char*> values);
std::optional<int64_t> number_setting(const char* name);
std::mt19937_64& random_numbers();

// Runs every thread of a grid; returns when all are done. may_begin_early: by programmatic dependent launch;
// it does not here, but the access checker knows that it may.
void run_grid(dim3 grid, dim3 block, size_t dynamic_shared_bytes, const Call& call,
              bool may_begin_early = false);

// Waits for all streams of the device.
void finish_all_streams();
// An error if a stream of this thread is being captured in a mode that forbids what `call` does.
cudaError_t check_not_capturing();

// While one lives in this thread, device memory can be accessed; host code outside of it faults.
struct DeviceAccess {
    DeviceAccess();
    ~DeviceAccess();
};

// The thread's last error is what it is given, unless that is success.
cudaError_t note_error(cudaError_t error);

} // namespace cusim
