#include "ops/gpu.h"
#include "ops_testing.h"

TEST(gpu, a_build_without_cuda_says_so) {
    if (gpu_in_build()) GTEST_SKIP() << "this build has CUDA";
    expect_error([] { gpu_ops(DType::bf16); }, "built without CUDA; build it with make CUDA=1");
    expect_error([] { gpu_count(); }, "compute.device=cpu");
}
