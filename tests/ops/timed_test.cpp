#include "ops/timed.h"

#include "testing.h"

#include <cstddef>
#include <cstring>

// A timed op computes what the plain one does, and its time goes to its own part and to no other.
TEST(TimedOps, SameResultTimeInItsPart) {
    const Ops& plain = cpu_ops(DType::f64);
    const Ops& timed = timed_ops(plain);
    TestTensor x = randn({5, 7}, 1), w = randn({3, 7}, 2), y = zeros({5, 3}), want = zeros({5, 3});
    Weight weight{w, {}, {}};
    plain.linear_forward(want, x, weight, {});
    reset_timed_parts();
    EXPECT_EQ(timed_parts().sum(), 0);
    timed.linear_forward(y, x, weight, {});
    expect_close(y, want, 0);
    EXPECT_GT(timed_parts().gemm, 0);
    EXPECT_EQ(timed_parts().gemm, timed_parts().sum());
    timed.add(x, x);
    EXPECT_GT(timed_parts().norm, 0);
    EXPECT_EQ(timed_parts().gemm + timed_parts().norm, timed_parts().sum());
    reset_timed_parts();
    EXPECT_EQ(timed_parts().sum(), 0);
}

// No entry was forgotten: but for memory and sizes, every one is wrapped.
TEST(TimedOps, EveryComputingEntryIsWrapped) {
    const Ops& plain = cpu_ops(DType::f32);
    Ops timed = timed_ops(plain);
    EXPECT_EQ(timed.dtype, plain.dtype);
    auto entries = [](const Ops& ops) {
        std::vector<void*> pointers((sizeof(Ops) - offsetof(Ops, alloc)) / sizeof(void*));
        std::memcpy(pointers.data(), (const char*)&ops + offsetof(Ops, alloc),
                    pointers.size() * sizeof(void*));
        return pointers;
    };
    std::vector<void*> before = entries(plain), after = entries(timed);
    int same = 0;
    for (size_t i = 0; i < before.size(); ++i) same += before[i] == after[i];
    EXPECT_EQ(same, 8); // alloc, free, packed_bytes; wait and graph_* are null here
    EXPECT_EQ(timed.alloc, plain.alloc);
    EXPECT_EQ(timed.free, plain.free);
    EXPECT_EQ(timed.packed_bytes, plain.packed_bytes);
}
