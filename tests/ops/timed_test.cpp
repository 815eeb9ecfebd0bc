#include "ops/timed.h"

#include "base/clock.h"
#include "testing.h"

#include <cstddef>
#include <cstring>
#include <map>

static double seconds(const char* part = "") {
    return sum_of(op_records(), &OpRecord::seconds, part);
}

// A timed op computes what the plain one does, and its time goes to its own part and to no other.
TEST(TimedOps, SameResultTimeInItsPart) {
    const Ops& plain = cpu_ops(DType::f64);
    const Ops& timed = timed_ops(plain);
    TestTensor x = randn({5, 7}, 1), w = randn({3, 7}, 2), y = zeros({5, 3}), want = zeros({5, 3});
    Weight weight{w, {}, {}};
    plain.linear_forward(want, x, weight, {});
    reset_op_records();
    EXPECT_TRUE(op_records().empty());
    timed.linear_forward(y, x, weight, {});
    expect_close(y, want, 0);
    EXPECT_GT(seconds("gemm"), 0);
    EXPECT_EQ(seconds("gemm"), seconds());
    timed.add(x, x);
    EXPECT_GT(seconds("norm"), 0);
    EXPECT_EQ(seconds("gemm") + seconds("norm"), seconds());
    double parts = 0;
    for (const char* part : op_parts) parts += seconds(part);
    EXPECT_NEAR(parts, seconds(), 1e-12);
    reset_op_records();
    EXPECT_EQ(seconds(), 0);
}

// Threads that call ops side by side: every call counts, and their time is the time that passed.
TEST(TimedOps, CallsSideBySide) {
    const Ops& timed = timed_ops(cpu_ops(DType::f64));
    reset_op_records();
    TestTensor x[] = {zeros({400, 400}), zeros({400, 400})};
    const double start = now();
#pragma omp parallel for num_threads(2)
    for (int t = 0; t < 2; ++t)
        for (int i = 0; i < 20; ++i) timed.add(x[t], x[t]);
    const double passed = now() - start;
    ASSERT_EQ(op_records().size(), 1u);
    EXPECT_EQ(op_records()[0].calls, 40);
    EXPECT_GT(seconds(), 0);
    EXPECT_LE(seconds(), passed);
}

// The work of calls, counted by hand, and the least time that it takes on a machine of these limits.
TEST(TimedOps, CountsWorkAndItsBound) {
    const Ops& counted = timed_ops(idle_ops(DType::f64), {.flop_per_s = 100, .bytes_per_s = 1000});
    reset_op_records();
    TestTensor x = zeros({5, 7}), w = zeros({3, 7}), y = zeros({5, 3});
    TestTensor dx = zeros({5, 7}), dw = zeros({3, 7});
    Weight weight{w, {}, {}};
    counted.linear_forward(y, x, weight, {});          // 2 5 3 7 = 210 FLOP, 8 (15 + 35 + 21) bytes
    counted.linear_backward(dx, dw, {}, y, x, weight); // twice
    counted.linear_backward(dx, {}, {}, y, x, weight); // and once
    counted.add(dx, x);
    // two children of 3 and 2 rows share the 4 rows of a prompt whose first 3 see each other
    TestTensor qkv = zeros({9, 12}), att = zeros({9, 4}), lse = zeros({9, 2});
    Ragged ragged;
    ragged.sequences = 3, ragged.max_length = 7;
    std::vector<int> begin = {0, 4, 7, 9}, parent = {-1, 0, 0}, prefix = {3, 0, 0};
    auto list = [](std::vector<int>& values) {
        return Tensor(values.data(), DType::i32, {(int64_t)values.size()});
    };
    ragged.begin = list(begin), ragged.parent = list(parent), ragged.prefix = list(prefix);
    counted.attention_forward(att, lse, qkv, ragged, 2, 2, 1);
    const double pairs = (3 + 3 + 3 + 4) + (5 + 6 + 7) + (5 + 6);

    std::map<std::string, OpRecord> of;
    for (const OpRecord& record : op_records()) of[record.name] = record;
    EXPECT_EQ(of.size(), 4u); // that attention's work is asked for is no download of the step's
    EXPECT_EQ(of["linear_forward"].calls, 1);
    EXPECT_EQ(of["linear_forward"].flop, 210);
    EXPECT_EQ(of["linear_forward"].bytes, 8 * 71);
    EXPECT_EQ(of["linear_forward"].bound, 2.1);
    EXPECT_EQ(of["linear_backward"].calls, 2);
    EXPECT_EQ(of["linear_backward"].flop, 630);
    EXPECT_EQ(of["linear_backward"].bytes, 8 * (2 * (15 + 2 * 35 + 21) + (15 + 35 + 2 * 21)));
    EXPECT_EQ(of["add"].flop, 0);
    EXPECT_EQ(of["add"].bound, 8 * 105 / 1000.0);
    EXPECT_EQ(of["attention_forward"].flop, 4 * pairs * 4);
    EXPECT_EQ(of["attention_forward"].bytes, 8 * (9 * 12 + 9 * 4 + 9 * 2));
}

// No entry was forgotten: but for memory, sizes and what is no op, every one is wrapped. Those that are null
// on a CPU are given some other pointer.
TEST(TimedOps, EveryComputingEntryIsWrapped) {
    constexpr size_t first = offsetof(Ops, alloc), count = (sizeof(Ops) - first) / sizeof(void*);
    auto entries = [](const Ops& ops) {
        std::vector<void*> pointers(count);
        std::memcpy(pointers.data(), (const char*)&ops + first, count * sizeof(void*));
        return pointers;
    };
    Ops plain = cpu_ops(DType::f32);
    std::vector<void*> before = entries(plain);
    for (void*& entry : before)
        if (!entry) entry = (void*)&plain;
    std::memcpy((char*)&plain + first, before.data(), count * sizeof(void*));
    const Ops timed = timed_ops(plain);
    EXPECT_EQ(timed.dtype, plain.dtype);
    const std::vector<void*> after = entries(timed);
    int same = 0;
    for (size_t i = 0; i < count; ++i) same += before[i] == after[i];
    // alloc, free, packed_bytes, few_rows, wait, mark, seconds_between, graph_end, _launch and _free
    EXPECT_EQ(same, 10);
    EXPECT_EQ(timed.alloc, plain.alloc);
    EXPECT_EQ(timed.free, plain.free);
    EXPECT_EQ(timed.packed_bytes, plain.packed_bytes);
}
