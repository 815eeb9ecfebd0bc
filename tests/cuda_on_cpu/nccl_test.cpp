// The NCCL stand-in: what every collective gives, with ranks as threads and as processes, and that wrong use is
// reported with the ranks' numbers.

#include "testing.h"

#include <cuda_bf16.h>
#include <nccl.h>

#include <sys/wait.h>
#include <thread>
#include <unistd.h>

// rank_main(rank, comm, stream) on a thread per rank.
template <class F> static void on_threads(int ranks, F rank_main) {
    ncclUniqueId id;
    ncclGetUniqueId(&id);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks; ++rank)
        threads.emplace_back([=] {
            ncclComm_t comm;
            cudaStream_t stream;
            cudaSetDevice(rank);
            cudaStreamCreate(&stream);
            ASSERT_EQ(ncclCommInitRank(&comm, ranks, id, rank), ncclSuccess);
            rank_main(rank, comm, stream);
            ncclCommDestroy(comm);
            cudaStreamDestroy(stream);
        });
    for (std::thread& t : threads) t.join();
}

// Element i of rank r is 100 r + i.
static std::vector<float> numbers(int rank, size_t count) {
    std::vector<float> x(count);
    for (size_t i = 0; i < count; ++i) x[i] = 100 * rank + float(i);
    return x;
}

static void expect_collectives(int rank, int ranks, ncclComm_t comm, cudaStream_t stream) {
    const size_t n = 70001; // more than a piece, and odd
    float rank_sum = 100 * ranks * (ranks - 1) / 2;
    Device<float> x(numbers(rank, n)), y(n);
    EXPECT_EQ(ncclAllReduce(x.data, y.data, n, ncclFloat, ncclSum, comm, stream), ncclSuccess);
    cudaStreamSynchronize(stream);
    std::vector<float> sum = y.get();
    for (size_t i = 0; i < n; i += 997) EXPECT_EQ(sum[i], rank_sum + ranks * float(i));

    // Scatter and gather in place, as ZeRO-1 does it.
    Device<float> all(numbers(rank, n * ranks));
    float* mine = all.data + rank * n;
    EXPECT_EQ(ncclReduceScatter(all.data, mine, n, ncclFloat, ncclAvg, comm, stream), ncclSuccess);
    EXPECT_EQ(ncclAllGather(mine, all.data, n, ncclFloat, comm, stream), ncclSuccess);
    cudaStreamSynchronize(stream);
    std::vector<float> gathered = all.get();
    for (size_t i = 0; i < n * ranks; i += 997)
        EXPECT_EQ(gathered[i], (rank_sum + ranks * float(i)) / ranks);

    EXPECT_EQ(ncclBroadcast(x.data, y.data, n, ncclFloat, ranks - 1, comm, stream), ncclSuccess);
    cudaStreamSynchronize(stream);
    EXPECT_EQ(y.get(), numbers(ranks - 1, n));
}

TEST(Nccl, CollectivesOfThreads) {
    for (int ranks : {1, 2, 3})
        on_threads(ranks, [=](int rank, ncclComm_t comm, cudaStream_t stream) {
            expect_collectives(rank, ranks, comm, stream);
        });
}

TEST(Nccl, CollectivesOfProcesses) {
    ncclUniqueId id;
    ncclGetUniqueId(&id);
    std::vector<pid_t> children;
    for (int rank = 0; rank < 2; ++rank) {
        children.push_back(fork());
        if (children.back()) continue;
        ncclComm_t comm;
        cudaStream_t stream;
        cudaStreamCreate(&stream);
        ncclCommInitRank(&comm, 2, id, rank);
        expect_collectives(rank, 2, comm, stream);
        _exit(testing::Test::HasFailure());
    }
    for (pid_t child : children) {
        int status;
        waitpid(child, &status, 0);
        EXPECT_EQ(status, 0);
    }
}

// A ring adds bf16 numbers with a rounding at every hop: 256 + 1 + 1 stays 256.
TEST(Nccl, Bf16IsRoundedAtEveryHop) {
    on_threads(3, [](int rank, ncclComm_t comm, cudaStream_t stream) {
        Device<__nv_bfloat16> x(std::vector<__nv_bfloat16>{rank == 0 ? 256.f : 1.f});
        ncclAllReduce(x.data, x.data, 1, ncclBfloat16, ncclSum, comm, stream);
        cudaStreamSynchronize(stream);
        EXPECT_EQ(float(x.get()[0]), 256);
    });
}

TEST(Nccl, DifferentCallsAreReported) {
    EXPECT_DEATH(on_threads(2,
                            [](int rank, ncclComm_t comm, cudaStream_t stream) {
                                Device<float> x(8);
                                ncclAllReduce(x.data, x.data, rank ? 8 : 4, ncclFloat, ncclSum,
                                              comm, stream);
                                cudaStreamSynchronize(stream);
                            }),
                 "rank [01] calls AllReduce of [48] elements, rank [01] calls AllReduce of [48]");
}

TEST(Nccl, AMissingRankIsNamed) {
    setenv("CUSIM_NCCL_TIMEOUT", "1", 1);
    EXPECT_DEATH(on_threads(2,
                            [](int rank, ncclComm_t comm, cudaStream_t stream) {
                                Device<float> x(8);
                                if (rank == 0)
                                    ncclAllReduce(x.data, x.data, 8, ncclFloat, ncclSum, comm,
                                                  stream);
                                cudaStreamSynchronize(stream);
                                if (rank == 1) sleep(5);
                            }),
                 "rank 0 waited 1 s in AllReduce for rank 1");
    unsetenv("CUSIM_NCCL_TIMEOUT");
}

TEST(Nccl, HostMemoryIsRefused) {
    on_threads(1, [](int, ncclComm_t comm, cudaStream_t stream) {
        std::vector<float> host(4);
        EXPECT_EQ(ncclAllReduce(host.data(), host.data(), 4, ncclFloat, ncclSum, comm, stream),
                  ncclInvalidArgument);
    });
}
