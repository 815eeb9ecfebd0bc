#include "gpu_testing.h"

#include <thread>

namespace {

// Arrays larger than a stretch of pinned memory, and many small ones whose host memory is used again at once.
TEST(GpuMemory, UploadsAndDownloads) {
    const Ops& ops = gpu_ops(DType::f32);
    const int64_t large = (9 << 20) / 4 + 3;
    std::vector<float> host(large), back(large);
    for (int64_t i = 0; i < large; ++i) host[i] = (float)(i % 1000003);
    Tensor x(ops.alloc(large * 4), DType::f32, {large});
    ops.download(back.data(), x);
    EXPECT_EQ(*std::max_element(back.begin(), back.end()), 0); // fresh memory is zero
    ops.upload(x, host.data());
    std::fill(host.begin(), host.end(), -1.f);
    ops.download(back.data(), x);
    bool same = true;
    for (int64_t i = 0; i < large; ++i) same = same && back[i] == (float)(i % 1000003);
    EXPECT_TRUE(same);

    const int count = 20000; // 256 bytes each: more than all of the pinned memory
    int32_t value[3];
    for (int i = 0; i < count; ++i) {
        value[0] = i, value[1] = -i, value[2] = 7;
        ops.upload(Tensor((char*)x.data + 12 * i, DType::i32, {3}), value);
    }
    std::vector<int32_t> list(count * 3);
    ops.download(list.data(), Tensor(x.data, DType::i32, {count * 3}));
    for (int i = 0; i < count; ++i) ASSERT_TRUE(list[3 * i] == i && list[3 * i + 1] == -i);
    ops.free(x.data);
}

TEST(GpuMemory, CopyAndZero) {
    const Ops& ops = gpu_ops(DType::bf16);
    TestTensor x = random_in(DType::bf16, {5, 7}, 1);
    GpuTensor from(DType::bf16, x), to(DType::bf16, poison({5, 7}));
    ops.copy(to, from);
    expect_near(to, x, 0, 0, "copy");
    ops.fill_zero(to.view.rows(1, 2));
    for (int64_t i = 7; i < 21; ++i) x.set(i, 0);
    expect_near(to, x, 0, 0, "zero");
    expect_error([&] { ops.copy(to.view.rows(0, 2), from); }, "copy: y is (2, 7) bf16");
}

TEST(GpuMemory, TooMuchGivesNull) {
    EXPECT_EQ(gpu_ops(DType::f32).alloc(size_t(1) << 50), nullptr);
    EXPECT_GT(gpu_info().memory_bytes, gpu_info().free_bytes);
    EXPECT_GE(gpu_scratch_bytes(), size_t(64) << 20);
}

TEST(GpuMemory, SelectingADevice) {
    EXPECT_GE(gpu_count(), 1);
    gpu_ops(DType::f32);
    expect_error([] { gpu_select(1); }, "works on GPU 0 already");
    std::thread([] { // a thread has a device of its own
        gpu_select(100000);
        expect_error([] { gpu_ops(DType::f32); }, "GPU 100000 was asked for, but there are");
    })
        .join();
    expect_error([] { gpu_ops(DType::f64); }, "the GPU has ops in f32 and bf16, not in f64");
}

// What a user meets who has no GPU for this program: one line that says what to do. The stand-in pretends it.
TEST(GpuMisuse, OneClearLineEach) {
    if (gpu_info().name.find("stand-in") == std::string::npos)
        GTEST_SKIP() << "only the stand-in can pretend that there is no GPU";
    auto expect_message = [](const char* name, const char* value, const char* part) {
        setenv(name, value, 1);
        std::thread([&] { expect_error([] { gpu_ops(DType::bf16); }, part); }).join();
        unsetenv(name);
    };
    expect_message("CUSIM_DRIVER", "none", "there is no NVIDIA driver, or it is too old for CUDA");
    expect_message("CUSIM_DEVICES", "0", "there is no GPU here; set compute.device=cpu");
    expect_message("CUSIM_SM", "75", "has compute capability 7.5; this program needs 8.0 or later");
    expect_message("CUSIM_MEMORY_MIB", "40", "out of GPU memory");
}

// A recorded decode step runs again on what its inputs hold then.
TEST(GpuGraph, LaunchesWhatWasRecorded) {
    for (DType dtype : gpu_types) {
        const Ops& ops = gpu_ops(dtype);
        const int N = 3, C = 16, O = 24;
        TestTensor w = random_in(dtype, {O, C}, 1), weight = random_in(dtype, {C}, 2);
        GpuTensor w_g(dtype, w), weight_g(dtype, weight), x_g(dtype, zeros({N, C}));
        GpuTensor y(dtype, poison({N, C})), s(DType::f32, poison({N})), z(dtype, poison({N, O}));
        ops.graph_begin();
        ops.rmsnorm_forward(y, s, x_g, weight_g, 1e-5);
        ops.linear_forward(z, y, {w_g, {}, {}}, {});
        expect_error([&] { ops.download(nullptr, z); }, "while launches are recorded");
        void* graph = ops.graph_end();
        EXPECT_TRUE(std::isnan(z.get().get(0))); // recorded, not run
        for (uint64_t seed : {3, 4}) {
            TestTensor x = random_in(dtype, {N, C}, seed);
            ops.copy(x_g, GpuTensor(dtype, x));
            ops.graph_launch(graph);
            GpuTensor y2(dtype, poison({N, C})), z2(dtype, poison({N, O}));
            ops.rmsnorm_forward(y2, s, x_g, weight_g, 1e-5);
            ops.linear_forward(z2, y2, {w_g, {}, {}}, {});
            EXPECT_TRUE(same_values(z, z2));
        }
        ops.graph_free(graph);
        expect_error([&] { ops.graph_end(); }, "graph_end: without graph_begin");
    }
}

} // namespace
