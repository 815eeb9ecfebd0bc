// The CPU backend: its tables, put together from what each op file installs.

#include "ops/install.h"

#include <cstdlib>

namespace cpu {

void* scratch(Slot slot, size_t bytes) {
    struct Block {
        void* memory = nullptr;
        size_t size = 0;
        ~Block() { std::free(memory); }
    };
    thread_local Block blocks[(int)Slot::count];
    Block& block = blocks[(int)slot];
    if (bytes > block.size) {
        std::free(block.memory);
        block.size = (bytes + 4095) / 4096 * 4096;
        block.memory = std::aligned_alloc(64, block.size);
        CHECK(block.memory, "out of memory: %zu bytes of scratch", block.size);
    }
    return block.memory;
}

template <class T> static Ops table(DType gemm) {
    Ops ops = {};
    ops.dtype = dtype_of<T>();
    install_memory<T>(ops);
    install_embedding<T>(ops);
    install_linear<T>(ops, gemm);
    install_rmsnorm<T>(ops);
    install_residual<T>(ops);
    install_head_norm<T>(ops);
    install_rope<T>(ops);
    install_attention<T>(ops);
    install_decode<T>(ops);
    install_swiglu<T>(ops);
    install_token_logprob<T>(ops);
    install_sample<T>(ops);
    install_adamw<T>(ops);
    return ops;
}

} // namespace cpu

const Ops& cpu_ops(DType dtype, DType gemm) {
    if (dtype == DType::f64) {
        CHECK(gemm != DType::bf16, "GEMMs in bf16 need ops in f32, not f64");
        static const Ops ops = cpu::table<double>(DType::f64);
        return ops;
    }
    CHECK(dtype == DType::f32, "the CPU has ops in f32 and f64, not in %s", dtype_name(dtype));
    if (gemm == DType::bf16) {
        static const Ops ops = cpu::table<float>(DType::bf16);
        return ops;
    }
    CHECK(gemm == DType::f32, "the CPU multiplies in f32 or bf16, not in %s", dtype_name(gemm));
    static const Ops ops = cpu::table<float>(DType::f32);
    return ops;
}
