// Streams, events, copies and graphs: a program that waits as it must gets the same numbers in every order,
// one that forgets a wait does not.

#include "testing.h"

namespace planted {
__global__ void add_one(float* y, const float* x, int n) {
    for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = x[i] + 1;
}
__global__ void double_it(float* x, float times) { x[threadIdx.x] *= times; }
} // namespace planted

using namespace planted;
using cusim::StreamOrder;

struct Streams : testing::Test {
    Ordered<StreamOrder> order{cusim::stream_order, StreamOrder::eager};
    cudaStream_t a, b;
    cudaEvent_t copied;
    Streams() {
        cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
        cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
        cudaEventCreateWithFlags(&copied, cudaEventDisableTiming);
    }
    ~Streams() {
        cudaStreamDestroy(a), cudaStreamDestroy(b), cudaEventDestroy(copied);
        cudaGetLastError();
    }

    // Stream a brings x, stream b adds one to it. Whether the result is right.
    bool copy_then_add(StreamOrder streams, bool waits) {
        cusim::stream_order = streams;
        const int n = 64;
        float* x;
        cudaMallocHost(&x, n * sizeof(float));
        for (int i = 0; i < n; ++i) x[i] = i;
        Device<float> dx(n), dy(n);
        cudaMemcpyAsync(dx.data, x, n * sizeof(float), cudaMemcpyHostToDevice, a);
        cudaEventRecord(copied, a);
        if (waits) cudaStreamWaitEvent(b, copied);
        launch(add_one, 1, 32, 0, b, dy.data, dx.data, n);
        std::vector<float> y(n);
        cudaMemcpyAsync(y.data(), dy.data, n * sizeof(float), cudaMemcpyDeviceToHost, b);
        bool right = true;
        for (int i = 0; i < n; ++i) right = right && y[i] == i + 1;
        cudaFreeHost(x);
        return right;
    }
};

TEST_F(Streams, AForgottenWaitPassesEagerAndFailsLazy) {
    for (StreamOrder o : {StreamOrder::eager, StreamOrder::lazy, StreamOrder::random})
        EXPECT_TRUE(copy_then_add(o, true));
    EXPECT_TRUE(copy_then_add(StreamOrder::eager, false));
    EXPECT_FALSE(copy_then_add(StreamOrder::lazy, false));
}

TEST_F(Streams, PinnedMemoryIsReadWhenTheCopyRuns) {
    cusim::stream_order = StreamOrder::lazy;
    float* pinned;
    cudaMallocHost(&pinned, sizeof(float));
    std::vector<float> pageable{1};
    Device<float> from_pinned(1), from_pageable(1);
    *pinned = 1;
    cudaMemcpyAsync(from_pinned.data, pinned, 4, cudaMemcpyHostToDevice, a);
    cudaMemcpyAsync(from_pageable.data, pageable.data(), 4, cudaMemcpyHostToDevice, a);
    *pinned = pageable[0] = 2; // too early for the pinned one
    cudaStreamSynchronize(a);
    EXPECT_EQ(from_pinned.get()[0], 2);
    EXPECT_EQ(from_pageable.get()[0], 1);
    cudaFreeHost(pinned);
}

TEST_F(Streams, EventsHappenInOrder) {
    cusim::stream_order = StreamOrder::lazy;
    Device<float> x(std::vector<float>(32, 1));
    launch(double_it, 1, 32, 0, a, x.data, 2.f);
    cudaEventRecord(copied, a);
    EXPECT_EQ(cudaEventQuery(copied), cudaErrorNotReady);
    EXPECT_EQ(cudaEventSynchronize(copied), cudaSuccess);
    EXPECT_EQ(cudaEventQuery(copied), cudaSuccess);
    cudaEvent_t start, end;
    cudaEventCreate(&start), cudaEventCreate(&end);
    cudaEventRecord(start, a), cudaEventRecord(end, a);
    float ms = -1;
    EXPECT_EQ(cudaEventElapsedTime(&ms, start, end), cudaErrorNotReady);
    cudaStreamSynchronize(a);
    EXPECT_EQ(cudaEventElapsedTime(&ms, start, end), cudaSuccess);
    EXPECT_GE(ms, 0);
    cudaEventDestroy(start), cudaEventDestroy(end);
}

TEST_F(Streams, CopiesCheckBothEnds) {
    std::vector<float> host(8);
    Device<float> x(8), y(8);
    EXPECT_EQ(cudaMemcpy(x.data, host.data(), 32, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(x.data + 1, y.data, 32, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemset(x.data, 0, 33), cudaErrorInvalidValue);
    EXPECT_EQ(cudaFree(host.data()), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(x.data, y.data, 32, cudaMemcpyDeviceToDevice), cudaSuccess);
}

TEST_F(Streams, AGraphReplaysWhatWasCaptured) {
    for (StreamOrder o : {StreamOrder::eager, StreamOrder::lazy}) {
        cusim::stream_order = o;
        Device<float> x(std::vector<float>(32, 1));
        float times = 2;
        ASSERT_EQ(cudaStreamBeginCapture(a, cudaStreamCaptureModeThreadLocal), cudaSuccess);
        launch(double_it, 1, 32, 0, a, x.data, times);
        launch(add_one, 1, 32, 0, a, x.data, x.data, 32);
        times = 100; // arguments were copied
        cudaGraph_t graph;
        ASSERT_EQ(cudaStreamEndCapture(a, &graph), cudaSuccess);
        EXPECT_EQ(x.get()[3], 1) << "capturing runs nothing";
        cudaGraphExec_t exec;
        ASSERT_EQ(cudaGraphInstantiate(&exec, graph), cudaSuccess);
        cudaGraphDestroy(graph);
        for (int i = 0; i < 3; ++i) cudaGraphLaunch(exec, b);
        cudaStreamSynchronize(b);
        EXPECT_EQ(x.get()[3], 15); // 1 -> 3 -> 7 -> 15
        cudaGraphExecDestroy(exec);
    }
}

TEST_F(Streams, ForbiddenCallsInvalidateACapture) {
    float* p;
    std::vector<float> host(8);
    Device<float> x(8);
    auto forbidden = [&](auto call) {
        cudaStreamBeginCapture(a, cudaStreamCaptureModeThreadLocal);
        EXPECT_EQ(call(), cudaErrorStreamCaptureUnsupported);
        cudaGraph_t graph;
        EXPECT_EQ(cudaStreamEndCapture(a, &graph), cudaErrorStreamCaptureInvalidated);
        EXPECT_EQ(graph, nullptr);
    };
    forbidden([&] { return cudaMalloc(&p, 8); });
    forbidden([&] { return cudaStreamSynchronize(a); });
    forbidden([&] { return cudaStreamSynchronize(b); });
    forbidden([&] { return cudaDeviceSynchronize(); });
    forbidden([&] { return cudaMemcpyAsync(host.data(), x.data, 8, cudaMemcpyDeviceToHost, a); });
}

#ifndef CUSIM_ASAN
TEST(Memory, TheHostCannotReadDeviceMemory) {
    Device<float> x(std::vector<float>(4, 1));
    EXPECT_DEATH(x.data[0] += 1, "");
}
#endif

TEST(Memory, ACardThatIsFullSaysSo) {
    setenv("CUSIM_MEMORY_MIB", "1", 1);
    float* p;
    EXPECT_EQ(cudaMalloc(&p, 2 << 20), cudaErrorMemoryAllocation);
    EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
    EXPECT_EQ(p, nullptr);
    size_t free_bytes, total;
    cudaMemGetInfo(&free_bytes, &total);
    EXPECT_EQ(total, size_t(1 << 20));
    unsetenv("CUSIM_MEMORY_MIB");
}

TEST(Memory, BlocksAreReused) {
    Device<char> keep(100);
    for (int i = 0; i < 1000; ++i) Device<char> a(10000), b(5000 + i * 10);
    EXPECT_TRUE(cusim::is_device(keep.data, 100));
    EXPECT_FALSE(cusim::is_device(keep.data, 101));
}
