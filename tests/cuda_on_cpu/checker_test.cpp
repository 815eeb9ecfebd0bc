// The access checker finds planted faults and is silent about right kernels; and a test during which it finds
// something fails. Compiled like the kernels, and linked by `make cuda-check` only.

#include "../../cuda/device.cuh"
#include "checker.h"
#include "testing.h"

namespace {
struct FailOnReports : testing::EmptyTestEventListener {
    void OnTestEnd(const testing::TestInfo&) override {
        for (const std::string& line : cusim::take_reports()) ADD_FAILURE() << line;
    }
};
struct Install : testing::Environment {
    void SetUp() override {
        testing::UnitTest::GetInstance()->listeners().Append(new FailOnReports);
    }
};
[[maybe_unused]] testing::Environment* const install =
    testing::AddGlobalTestEnvironment(new Install);
} // namespace

namespace planted {

// The neighbour's number by shared memory, with or without what must stand between.
enum Between { nothing, warp_barrier, block_barrier, a_shuffle };
template <Between between> __global__ void neighbour(int* y) {
    __shared__ int s[64];
    int i = threadIdx.x;
    s[i] = i;
    if (between == warp_barrier) __syncwarp();
    if (between == block_barrier) __syncthreads();
    if (between == a_shuffle) i = __shfl_sync(~0u, i, i % 32);
    y[i] = s[i ^ 1];
}

__global__ void overwrite_too_early(int* y) {
    __shared__ int s[64];
    int i = threadIdx.x;
    s[i] = i;
    __syncthreads();
    y[i] = s[63 - i];
    s[i] = 0; // others may not have read yet
}

__global__ void other_block(int* y) {
    y[blockIdx.x * 32 + threadIdx.x] = 1;
    if (blockIdx.x == 1) y[threadIdx.x] = 2;
}

template <bool atomic> __global__ void count(int* y) {
    if (atomic)
        atomicAdd(y, 1);
    else
        *y += 1;
}

// Two tiles take turns: the copy into one is started while the other is read, which may be only when all have read
// what was there before.
template <bool barrier> __global__ void copy_ahead(int* y, const int* x) {
    __shared__ int s[2][64];
    const int i = threadIdx.x;
    for (int t = 0; t < 3; ++t) {
        cusim::note_copy_started(&s[(t + 1) % 2][i], sizeof(int));
        s[t % 2][i] = x[i]; // the copy that was started in the last round, when it is waited for
        __syncthreads();
        y[i] = s[t % 2][63 - i];
        if (barrier) __syncthreads();
    }
}
__global__ void read_before_the_wait(int* y) {
    __shared__ int s[64];
    const int i = threadIdx.x;
    s[i] = 1;
    cusim::note_copy_started(&s[i], sizeof(int));
    y[i] = s[i];
}

__global__ void read_it(int* y, const int* x) { y[threadIdx.x] = x[threadIdx.x]; }
__global__ void read_shared(int* y) {
    CUSIM_DYN_SHARED(int, s);
    y[threadIdx.x] = s[threadIdx.x];
}
// y = x, where x or y may be in use by the launches before.
enum Early { reads_early, writes_early, waits_first };
template <Early early> __global__ void follow(int* y, const int* x) {
    const int i = threadIdx.x;
    int v = early == reads_early ? x[i] : 0;
    if (early == writes_early) y[i] = 0;
    gpu::wait_for_earlier_launches();
    if (early != reads_early) v = x[i];
    y[i] = v;
}
// The last block adds up what all have written.
template <bool by_ticket> __global__ void sum_blocks(int* y, int* ticket) {
    y[blockIdx.x] = 1;
    const bool last =
        by_ticket ? gpu::is_last_block(ticket, gridDim.x) : blockIdx.x + 1 == gridDim.x;
    for (unsigned i = 0; last && i + 1 < gridDim.x; ++i) y[blockIdx.x] += y[i];
}
struct alignas(16) Four {
    int v[4];
};
__global__ void copy_four(Four* y, const Four* x) { *y = *x; }

} // namespace planted

using namespace planted;

// Reductions one behind the other: the second writes where the first is read.
__global__ void reduce_twice(float* y) {
    const float x = (float)threadIdx.x;
    y[threadIdx.x] =
        gpu::block_max(x) + 100 * gpu::block_max(-x) + gpu::block_sum(x) + gpu::block_sum(1.0f);
}

struct Checker : testing::Test {
    Device<int> y{std::vector<int>(64, 0)};
    static void expect(const char* what) {
        std::vector<std::string> lines = cusim::take_reports();
        std::string all;
        for (const std::string& line : lines) all += line + "\n";
        if (!what) {
            EXPECT_EQ(all, "");
        } else {
            EXPECT_NE(all.find(what), all.npos) << "wanted: " << what << "\nfound: " << all;
            EXPECT_NE(all.find("checker_test.cpp:"), all.npos) << all;
        }
    }
};

TEST_F(Checker, BarriersOrder) {
    launch(neighbour<block_barrier>, 2, 64, 0, nullptr, y.data);
    expect("write-write race in device"); // of the two blocks
    launch(neighbour<block_barrier>, 1, 64, 0, nullptr, y.data);
    expect(nullptr);
    launch(neighbour<warp_barrier>, 1, 64, 0, nullptr, y.data);
    expect(nullptr);
    launch(neighbour<nothing>, 1, 64, 0, nullptr, y.data);
    expect("race in shared memory");
    launch(neighbour<a_shuffle>, 1, 64, 0, nullptr, y.data);
    expect("race in shared memory");
    launch(overwrite_too_early, 1, 64, 0, nullptr, y.data);
    expect("race in shared memory");
}

TEST_F(Checker, CopiesWriteFromTheirStart) {
    Device<int> x{std::vector<int>(64, 0)};
    launch(copy_ahead<true>, 1, 64, 0, nullptr, y.data, x.data);
    expect(nullptr);
    launch(copy_ahead<false>, 1, 64, 0, nullptr, y.data, x.data);
    expect("race in shared memory");
    launch(read_before_the_wait, 1, 64, 0, nullptr, y.data);
    expect("read of uninitialised data in shared memory");
}

TEST_F(Checker, BlocksAreNotOrdered) {
    launch(other_block, 2, 32, 0, nullptr, y.data);
    expect("write-write race in device memory");
    launch(count<false>, 2, 1, 0, nullptr, y.data);
    expect("race in device memory");
    launch(count<true>, 2, 64, 0, nullptr, y.data);
    expect(nullptr);
    launch(count<false>, 1, 1, 0, nullptr, y.data); // of another launch
    expect(nullptr);
}

TEST_F(Checker, AnEarlyLaunchWaitsForThoseBeforeIt) {
    Device<int> x{std::vector<int>(64, 3)}, z(64);
    auto early = [](auto kernel, int* to, const int* from) {
        cudaLaunchAttribute overlap{};
        overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
        overlap.val.programmaticStreamSerializationAllowed = 1;
        cudaLaunchConfig_t config{};
        config.blockDim = 32, config.attrs = &overlap, config.numAttrs = 1;
        cudaLaunchKernelEx(&config, kernel, to, from);
    };
    launch(read_it, 1, 32, 0, nullptr, y.data, x.data);
    early(follow<waits_first>, z.data, y.data);
    expect(nullptr);
    early(follow<writes_early>, z.data, y.data);
    expect("write before the wait for earlier launches in device memory");
    early(follow<reads_early>, z.data, x.data); // which the host wrote before all of them
    expect(nullptr);
    early(follow<reads_early>, z.data,
          y.data); // two launches back, and nothing says that it has ended
    expect("read before the wait for the launch that wrote it in device memory");
    launch(read_it, 1, 32, 0, nullptr, z.data, x.data); // all before it have ended
    early(follow<reads_early>, z.data, y.data);
    expect(nullptr);
}

TEST_F(Checker, TheLastBlockSeesTheOthers) {
    Device<int> ticket{std::vector<int>(1, 0)};
    launch(sum_blocks<false>, 3, 1, 0, nullptr, y.data, ticket.data);
    expect("race in device memory");
    launch(sum_blocks<true>, 3, 1, 0, nullptr, y.data, ticket.data);
    expect(nullptr);
    EXPECT_EQ(ticket.get()[0], 0);
}

TEST_F(Checker, UninitialisedReads) {
    Device<int> fresh(64);
    launch(read_it, 1, 32, 0, nullptr, y.data, fresh.data);
    expect("read of uninitialised data in device memory");
    launch(read_shared, 1, 32, 128, nullptr, y.data);
    expect("read of uninitialised data in shared memory");
    cudaMemset(fresh.data, 0, 128);
    launch(read_it, 1, 32, 0, nullptr, y.data, fresh.data);
    expect(nullptr);
    launch(read_it, 1, 33, 0, nullptr, y.data, fresh.data);
    expect("read of uninitialised data in device memory");
}

TEST_F(Checker, AccessesOutside) {
    std::vector<int> host(32);
    launch(read_it, 1, 32, 0, nullptr, y.data, host.data());
    expect("a read in host or freed memory");
    launch(read_it, 1, 32, 0, nullptr, host.data(), y.data);
    expect("a write in host or freed memory");
    launch(read_it, 1, 33, 0, nullptr, y.data + 32, y.data);
    expect("a write in host or freed memory"); // one past the end
}

TEST_F(Checker, MisalignedVectors) {
    launch(copy_four, 1, 1, 0, nullptr, (Four*)(y.data + 4), (const Four*)(y.data + 8));
    expect(nullptr);
    EXPECT_DEATH(
        launch(copy_four, 1, 1, 0, nullptr, (Four*)(y.data + 4), (const Four*)(y.data + 9)),
        "a misaligned access of 16 bytes at checker_test.cpp");
}

// The one test here of the kernels' own code: that these may follow each other is used nowhere yet.
TEST(GpuReductions, MayFollowEachOther) {
    Device<float> y(64);
    launch(reduce_twice, 1, 64, 0, nullptr, y.data);
    Checker::expect(nullptr);
    for (float found : y.get()) EXPECT_EQ(found, 63 + 0 + 2016 + 64);
}
