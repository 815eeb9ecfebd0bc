// The columns A100 and H100 of kernels.txt against NVIDIA's own calculator, cuda_occupancy.h, which is host code:
//     g++ -std=c++20 -I$CUDA_HOME/include tests/cuda_on_cpu/occupancy.cpp -o occupancy && ./occupancy
// Ends with status 1 if a kernel differs.

#include <cuda_runtime.h>

#include <cuda_occupancy.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

static int blocks(int major, size_t shared_kib, int threads, int registers, int fixed,
                  int dynamic) {
    cudaOccDeviceProp card;
    card.computeMajor = major, card.computeMinor = 0, card.numSms = 100;
    card.maxThreadsPerBlock = 1024, card.maxThreadsPerMultiprocessor = 2048, card.warpSize = 32;
    card.regsPerBlock = card.regsPerMultiprocessor = 65536;
    card.sharedMemPerBlock = 48 << 10, card.sharedMemPerMultiprocessor = shared_kib << 10;
    card.sharedMemPerBlockOptin = (shared_kib - 1) << 10, card.reservedSharedMemPerBlock = 1 << 10;
    cudaOccFuncAttributes kernel;
    kernel.maxThreadsPerBlock = threads, kernel.numRegs = registers;
    kernel.sharedSizeBytes = (size_t)fixed, kernel.maxDynamicSharedSizeBytes = (size_t)dynamic;
    kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    kernel.numBlockBarriers = 1;
    cudaOccDeviceState state;
    state.cacheConfig = CACHE_PREFER_NONE, state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
    cudaOccResult result;
    const cudaOccError error = cudaOccMaxActiveBlocksPerMultiprocessor(
        &result, &card, &kernel, &state, threads, (size_t)dynamic);
    return error == CUDA_OCC_SUCCESS ? result.activeBlocksPerMultiprocessor : -1;
}

int main() {
    std::ifstream table("tests/cuda_on_cpu/kernels.txt");
    int kernels = 0, different = 0;
    for (std::string line; std::getline(table, line);) {
        std::istringstream row(line);
        std::string file;
        int threads, regs80, regs90, regs100, fixed, dynamic, a100, h100;
        if (!(row >> file >> threads >> regs80 >> regs90 >> regs100 >> fixed >> dynamic >> a100 >>
              h100))
            continue; // a heading
        ++kernels;
        const int a = blocks(8, 164, threads, regs80, fixed, dynamic);
        const int h = blocks(9, 228, threads, regs90, fixed, dynamic);
        if (a == a100 && h == h100) continue;
        std::printf("%s\n  cuda_occupancy.h says A100 %d, H100 %d\n", line.c_str(), a, h);
        ++different;
    }
    std::printf("%d kernels, %d differ from cuda_occupancy.h\n", kernels, different);
    return kernels == 0 || different != 0;
}
