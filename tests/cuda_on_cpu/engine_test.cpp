// The engine runs right kernels right and notices wrong ones. Each planted fault is one that a device
// answers with a hang or with wrong numbers.

#include "testing.h"

#include <cuda_bf16.h>

// Other tests of the program start threads, which a plain fork does not survive.
struct DeathTestsStartAnew : testing::Environment {
    void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};
[[maybe_unused]] static testing::Environment* const start_anew =
    testing::AddGlobalTestEnvironment(new DeathTestsStartAnew);

namespace planted {

__global__ void square(float* y, const float* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] * x[i];
}

// y_b = sum over the block's threads of x, by shuffles, then by shared memory.
__global__ void block_sums(float* y, const float* x) {
    __shared__ float part[32];
    float sum = x[blockIdx.x * blockDim.x + threadIdx.x];
    for (int k = 16; k; k /= 2) sum += __shfl_xor_sync(~0u, sum, k);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0;
    for (unsigned w = 0; w < blockDim.x / 32; ++w) sum += part[w];
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

__global__ void dynamic_reversed(int* y) {
    CUSIM_DYN_SHARED(int, s);
    s[threadIdx.x] = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];
}

__global__ void unwritten_shared(float* y) {
    CUSIM_DYN_SHARED(float, s);
    y[threadIdx.x] = s[threadIdx.x];
}

__global__ void ticket(int* y, int* count) {
    y[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(count, 1);
}

__global__ void half_at_the_barrier() {
    if (threadIdx.x < 16)
        __syncthreads();
    else
        __syncwarp(0xffff0001); // lane 0 never comes
}

__global__ void two_barriers() {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}

__global__ void lane_missing() {
    if (threadIdx.x != 5) __shfl_xor_sync(~0u, 1, 1);
}

__global__ void not_in_its_mask() { __shfl_xor_sync(1u, 1, 0); }

__global__ void votes(unsigned* y) {
    int i = threadIdx.x;
    y[i] = __ballot_sync(~0u, i % 3 == 0);
    y[32 + i] = __shfl_up_sync(~0u, i, 3);
    y[64 + i] = __shfl_down_sync(~0u, i, 5, 8);
    y[96 + i] = __shfl_sync(~0u, i, 9, 16);
    y[128 + i] = __reduce_add_sync(~0u, i);
}

__global__ void block_votes(int* y) {
    y[threadIdx.x] = __syncthreads_count(threadIdx.x % 3 == 0);
    y[threadIdx.x] += 100 * __syncthreads_or(threadIdx.x == 7) + 200 * __syncthreads_and(true) +
                      400 * __syncthreads_and(threadIdx.x != 7) + 800 * __syncthreads_or(false);
}

} // namespace planted

using namespace planted;
using cusim::ThreadOrder;

struct EngineInOrder : testing::TestWithParam<ThreadOrder> {
    Ordered<ThreadOrder> order{cusim::thread_order, GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Orders, EngineInOrder,
                         testing::Values(ThreadOrder::forward, ThreadOrder::reverse,
                                         ThreadOrder::random));

TEST_P(EngineInOrder, RunsEveryThreadOnce) {
    std::vector<float> x(1000);
    for (int i = 0; i < 1000; ++i) x[i] = i;
    Device<float> dx(x), dy(1000);
    ASSERT_EQ(launch(square, 8, 128, 0, nullptr, dy.data, dx.data, 1000), cudaSuccess);
    std::vector<float> y = dy.get();
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(y[i], x[i] * x[i]);
}

TEST_P(EngineInOrder, SharedMemoryAndShufflesSumABlock) {
    std::vector<float> x(3 * 256), expected(3, 0);
    for (int i = 0; i < 3 * 256; ++i) x[i] = i % 17, expected[i / 256] += x[i];
    Device<float> dx(x), dy(3);
    launch(block_sums, 3, 256, 0, nullptr, dy.data, dx.data);
    EXPECT_EQ(dy.get(), expected);
    Device<int> reversed(64);
    launch(dynamic_reversed, 1, 64, 64 * sizeof(int), nullptr, reversed.data);
    for (int i = 0; i < 64; ++i) EXPECT_EQ(reversed.get()[i], 63 - i);
}

TEST_P(EngineInOrder, WarpFunctionsAreAsDocumented) {
    Device<unsigned> dy(160);
    launch(votes, 1, 32, 0, nullptr, dy.data);
    std::vector<unsigned> y = dy.get();
    for (unsigned i = 0; i < 32; ++i) {
        EXPECT_EQ(y[i], 0x49249249u);                    // every third lane
        EXPECT_EQ(y[32 + i], i < 3 ? i : i - 3);         // stays where there is no lane
        EXPECT_EQ(y[64 + i], i % 8 + 5 < 8 ? i + 5 : i); // within 8 lanes
        EXPECT_EQ(y[96 + i], i / 16 * 16 + 9);           // within 16 lanes
        EXPECT_EQ(y[128 + i], 31u * 32 / 2);
    }
}

TEST_P(EngineInOrder, BarriersCountVotes) {
    Device<int> y(64);
    launch(block_votes, 1, 64, 0, nullptr, y.data);
    EXPECT_EQ(y.get(), std::vector<int>(64, 22 + 100 + 200));
}

TEST_P(EngineInOrder, DeadlocksAreReportedWithTheirLanes) {
    EXPECT_DEATH(
        launch(lane_missing, 1, 32, 0, nullptr),
        "deadlock in block \\(0,0,0\\).*\n.*warp 0: lanes ffffffdf wait for lanes 00000020");
    EXPECT_DEATH(
        launch(half_at_the_barrier, 1, 32, 0, nullptr),
        "lanes ffff0000 wait for lanes 00000001 of .*\n.*16 threads wait at __syncthreads");
    EXPECT_DEATH(launch(two_barriers, 1, 64, 0, nullptr), "meets the others at .*engine_test.cpp");
    EXPECT_DEATH(launch(not_in_its_mask, 1, 32, 0, nullptr), "lane [0-9]+ is not in its own mask");
}

TEST(Engine, OrdersDiffer) {
    auto run = [](ThreadOrder order) {
        Ordered<ThreadOrder> hold{cusim::thread_order, order};
        Device<int> y(64), count(std::vector<int>{0});
        launch(ticket, 2, 32, 0, nullptr, y.data, count.data);
        return y.get();
    };
    std::vector<int> forward = run(ThreadOrder::forward), reverse = run(ThreadOrder::reverse);
    EXPECT_EQ(forward[0], 0);
    EXPECT_EQ(reverse[63], 0);
    std::vector<int> random = run(ThreadOrder::random);
    EXPECT_NE(random, forward);
    EXPECT_NE(random, reverse);
}

TEST(Engine, FreshMemoryIsNaN) {
    Device<float> fresh(32), y(32);
    for (float v : fresh.get()) EXPECT_TRUE(std::isnan(v));
    launch(unwritten_shared, 1, 32, 32 * sizeof(float), nullptr, y.data);
    for (float v : y.get()) EXPECT_TRUE(std::isnan(v));
    EXPECT_TRUE(std::isnan(float(__ushort_as_bfloat16(0xffff))));
}

TEST(Engine, LaunchesOutOfRangeAreRefused) {
    Device<int> y(2048);
    auto shared = [&](size_t bytes) {
        cudaError_t error = launch(dynamic_reversed, 1, 32, bytes, nullptr, y.data);
        cudaGetLastError();
        return error;
    };
    auto shape = [&](dim3 grid, dim3 block) {
        cudaError_t error = launch(dynamic_reversed, grid, block, 4096, nullptr, y.data);
        EXPECT_EQ(cudaGetLastError(), error);
        return error;
    };
    EXPECT_EQ(shape(1, 1024), cudaSuccess);
    EXPECT_EQ(shape(1, 1025), cudaErrorInvalidConfiguration);
    EXPECT_EQ(shape(1, {1, 1, 65}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(shape(0, 32), cudaErrorInvalidConfiguration);
    EXPECT_EQ(shape({1, 65536, 1}, 32), cudaErrorInvalidConfiguration);
    EXPECT_EQ(shared(48 << 10), cudaSuccess);
    EXPECT_EQ(shared((48 << 10) + 1), cudaErrorInvalidValue);
    EXPECT_EQ(cudaFuncSetAttribute(dynamic_reversed, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   (227 << 10) + 1),
              cudaErrorInvalidValue);
    EXPECT_EQ(cudaFuncSetAttribute(dynamic_reversed, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   227 << 10),
              cudaSuccess);
    EXPECT_EQ(shared(227 << 10), cudaSuccess);
}
