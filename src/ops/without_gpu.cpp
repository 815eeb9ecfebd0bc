// The GPU backend of a binary that was built without CUDA. cuda/ takes this file's place otherwise.

#include "ops/collectives.h"
#include "ops/gpu.h"

[[noreturn]] static void no_gpu() {
    fail(
        "this binary was built without CUDA; build it with make CUDA=1, or set compute.device=cpu");
}

bool gpu_in_build() { return false; }
int gpu_count() { no_gpu(); }
void gpu_select(int) { no_gpu(); }
GpuInfo gpu_info() { no_gpu(); }
void* gpu_stream() { no_gpu(); }
void gpu_keep_choices(const std::string&) {}
size_t gpu_scratch_bytes() { return 0; }
const Ops& gpu_ops(DType) { no_gpu(); }
CollectivesId make_collectives_id() { no_gpu(); }
Collectives join_collectives(const CollectivesId&, int, int) { no_gpu(); }
