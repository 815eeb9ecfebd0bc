#include "ops_testing.h"

TEST(memory, blocks_are_zeroed_and_aligned) {
    const Ops& ops = cpu_ops(DType::f32);
    for (size_t bytes : {(size_t)1, (size_t)1000, (size_t)9 << 20}) {
        char* block = (char*)ops.alloc(bytes);
        ASSERT_TRUE(block);
        EXPECT_EQ((uintptr_t)block % 64, 0u);
        bool zero = true;
        for (size_t i = 0; i < bytes; ++i) zero = zero && block[i] == 0;
        EXPECT_TRUE(zero);
        std::memset(block, 1, bytes); // so that a reused block would show
        ops.free(block);
    }
}

TEST(memory, too_much_is_null) { EXPECT_EQ(cpu_ops(DType::f32).alloc((size_t)1 << 60), nullptr); }

TEST(memory, moves) {
    const Ops& ops = cpu_ops(DType::f32);
    const int size = 700001; // more than one block of the parallel copy
    TestTensor x = randn({size}, 1, DType::f32), y = zeros({size}, DType::f32),
               z = zeros({size}, DType::f32);
    ops.upload(y, x.view.data);
    EXPECT_TRUE(same_bits(x, y));
    ops.copy(z, y);
    EXPECT_TRUE(same_bits(x, z));
    ops.fill_zero(y);
    ops.download(z.view.data, y);
    EXPECT_TRUE(same_bits(y, z));
    for (int i : {0, 1, size - 1}) EXPECT_EQ(z.get(i), 0);
    expect_error([&] { ops.copy(x, zeros({3}, DType::f32)); }, "copy: y is");
}
