#include "train/settings.h"

#include "ops/gpu.h"
#include "ops_testing.h"

namespace {

ComputeConfig chosen(const char* device, const char* dtype, const char* gemm = "f32") {
    ComputeSettings settings;
    settings.device = device, settings.dtype = dtype, settings.gemm = gemm;
    return compute_config(settings);
}

} // namespace

TEST(ComputeSettings, EachDeviceHasItsOwnDefault) {
    EXPECT_EQ(chosen("cpu", "auto").dtype, DType::f32);
    EXPECT_FALSE(chosen("cpu", "auto").gpu);
    EXPECT_EQ(chosen("cuda", "auto").dtype, DType::bf16);
    EXPECT_TRUE(chosen("cuda", "auto").gpu);
    EXPECT_EQ(chosen("cuda", "f32").dtype, DType::f32);
    EXPECT_FALSE(chosen("auto", "f64").gpu); // f64 and bf16 GEMMs name the CPU
    EXPECT_FALSE(chosen("auto", "auto", "bf16").gpu);
}

TEST(ComputeSettings, WhatADeviceCannotDoIsRefused) {
    expect_error([] { chosen("cpu", "bf16"); }, "compute.dtype=bf16 needs a GPU");
    expect_error([] { chosen("cpu", "f64", "bf16"); }, "compute.gemm=bf16 goes with");
    expect_error([] { chosen("cuda", "f64"); }, "compute.dtype=f64 is for the CPU");
    expect_error([] { chosen("cuda", "bf16", "bf16"); }, "compute.gemm=bf16 is for the CPU");
    ComputeSettings settings;
    settings.device = "cuda";
    if (!gpu_in_build()) expect_error([&] { apply_compute(settings); }, "make CUDA=1");
}
