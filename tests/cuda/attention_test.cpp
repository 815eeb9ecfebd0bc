#include "gpu_testing.h"

// Attention forward and backward, and decoding from the cache. bf16 heads of 8, 16, ... 128 channels run on
// the tensor-core tiles, all others, and f32, a row at a time.

namespace {

struct Batch {
    int H, K, D, N = 0;
    std::vector<int32_t> begin{0}, prefix, parent;

    Batch(int H_, int K_, int D_, std::vector<int> lengths, std::vector<int32_t> prefix_ = {},
          std::vector<int32_t> parent_ = {})
        : H(H_), K(K_), D(D_), prefix(prefix_), parent(parent_) {
        for (int n : lengths) begin.push_back(N += n);
    }
    int sequences() const { return (int)begin.size() - 1; }
    int width() const { return (H + 2 * K) * D; }
    double scale() const { return 1 / std::sqrt((double)D); }
    std::string name(DType dtype) const {
        return format("%s, H %d, K %d, D %d, N %d: ", dtype_name(dtype), H, K, D, N);
    }
};

// The batch's lists in host or device memory.
struct Lists {
    std::vector<TestTensor> host;
    std::vector<GpuTensor> device;
    Ragged ragged;
    Lists(const Batch& b, bool on_gpu) {
        ragged.sequences = b.sequences();
        auto put = [&](Tensor& to, const std::vector<int32_t>& list) {
            if (list.empty()) return;
            host.push_back(indices(list));
            to = host.back();
            if (on_gpu) device.emplace_back(DType::i32, host.back()), to = device.back();
        };
        put(ragged.begin, b.begin), put(ragged.prefix, b.prefix), put(ragged.parent, b.parent);
    }
};

// Sizes around tiles and warps; every kind of mask; empty sequences; every way of choosing a kernel.
std::vector<Batch> all_kinds() {
    return {
        {1, 1, 8, {1}},
        {2, 2, 40, {3, 64, 1, 65}},
        {4, 2, 16, {63, 130, 7}},
        {3, 1, 80, {70, 2}, {70, 1}},
        {2, 1, 64, {128, 5}, {40, 0}},
        {2, 1, 32, {70, 30, 60, 64, 9}, {}, {-1, 0, 0, -1, 3}},
        {2, 1, 96, {20, 3, 50, 1}, {12, 0, 0, 0}, {-1, 0, -1, 0}},
        {2, 1, 128, {66, 0, 9, 5}, {}, {-1, -1, 0, -1}},
        {1, 1, 72, {90, 40, 0, 70}, {66, 60, 0, 0}, {-1, 0, 0, 0}},
        {4, 2, 5, {40, 3}, {7, 0}},
        {3, 1, 10, {33, 0, 2, 40}, {}, {-1, 0, 0, 0}},
        {2, 1, 136, {17, 20}},
        {2, 1, 64, {200, 70, 20}, {}, {-1, 0, 0}},
        {1, 1, 128, {194, 20}, {90, 0}, {-1, 0}},
        {7, 1, 64, {140, 70, 3}, {}, {-1, 0, 0}}, // heads in unequal parts
    };
}

// The products have one form for Hopper (sm_90) and one for every GPU; the stand-in can be both.
struct Form {
    Form(const char* sm) { setenv("CUSIM_SM", sm, 1); }
    ~Form() { unsetenv("CUSIM_SM"); }
};
std::vector<const char*> forms(DType dtype) {
    const bool both = dtype == DType::bf16 && gpu_info().name.find("stand-in") != std::string::npos;
    return both ? std::vector{"80", "90"} : std::vector{"90"};
}

double norm(const TestTensor& x) { return std::sqrt(dot(x, x)); }

// |got - want| relative to |want|, over all elements: rounding errors are as often up as down, so in a
// norm they stay near that of one rounding, which elements that are small sums of large terms do not.
double error_in_norm(const GpuTensor& got, const TestTensor& want) {
    TestTensor difference = got.get();
    for (int64_t i = 0; i < want.size(); ++i) difference.set(i, difference.get(i) - want.get(i));
    return norm(difference) / norm(want);
}

// Nothing is said: Hopper's form would be given up with a line on stderr, and its faults not be seen here.
struct Silence {
    Silence() { testing::internal::CaptureStderr(); }
    ~Silence() { EXPECT_EQ(testing::internal::GetCapturedStderr(), ""); }
};

TEST(GpuAttention, Forward) {
    const Silence silence;
    for (DType dtype : gpu_types)
        for (const Batch& b : all_kinds()) {
            TestTensor qkv = random_in(dtype, {b.N, b.width()}, 1);
            TestTensor y = zeros({b.N, b.H * b.D}), lse = zeros({b.N, b.H});
            const Lists host(b, false), device(b, true);
            cpu_ops(DType::f64).attention_forward(y, lse, qkv, host.ragged, b.H, b.K, b.scale());
            for (const char* sm : forms(dtype)) {
                const Form form(sm);
                GpuTensor y_g(dtype, poison({b.N, b.H * b.D})),
                    lse_g(DType::f32, poison({b.N, b.H}));
                gpu_ops(dtype).attention_forward(y_g, lse_g, GpuTensor(dtype, qkv), device.ragged,
                                                 b.H, b.K, b.scale());
                // In bf16 the probabilities are rounded: an error of at most ulp sum_j P_ij |v_j|, where the
                // sum is the mean of |v|, about 1; and the result once more. Scores are f32 sums.
                const double ulp = half_ulp(dtype);
                expect_near(y_g, y, ulp + 2e-6, ulp + 2e-6, b.name(dtype) + "y");
                EXPECT_LE(error_in_norm(y_g, y), ulp + 2e-6) << b.name(dtype);
                expect_near(lse_g, lse, 1e-6, 3e-6, b.name(dtype) + "lse");
            }
        }
}

TEST(GpuAttention, Backward) {
    const Silence silence;
    for (DType dtype : gpu_types)
        for (const Batch& b : all_kinds()) {
            TestTensor qkv = random_in(dtype, {b.N, b.width()}, 1);
            TestTensor dy = random_in(dtype, {b.N, b.H * b.D}, 2);
            TestTensor given = random_in(dtype, {b.N, b.width()}, 3, 0.1);
            TestTensor y = zeros({b.N, b.H * b.D}), lse = zeros({b.N, b.H});
            const Lists host(b, false), device(b, true);
            const Ops& cpu = cpu_ops(DType::f64);
            cpu.attention_forward(y, lse, qkv, host.ragged, b.H, b.K, b.scale());
            for (int64_t i = 0; i < y.size(); ++i) y.set(i, round_to(dtype, y.get(i)));
            for (int64_t i = 0; i < lse.size(); ++i) lse.set(i, round_to(DType::f32, lse.get(i)));
            TestTensor want = clone(given);
            cpu.attention_backward(want, dy, y, lse, qkv, host.ragged, b.H, b.K, b.scale());

            for (const char* sm : forms(dtype)) {
                const Form form(sm);
                GpuTensor dqkv(dtype, given), again(dtype, given), dy_g(dtype, dy), y_g(dtype, y);
                GpuTensor lse_g(DType::f32, lse), qkv_g(dtype, qkv);
                for (const GpuTensor* to : {&dqkv, &again})
                    gpu_ops(dtype).attention_backward(*to, dy_g, y_g, lse_g, qkv_g, device.ragged,
                                                      b.H, b.K, b.scale());
                // In bf16 P and dS are rounded, of which up to a hundred are added up with weights of about
                // 1; and the result once more.
                const double ulp = half_ulp(dtype);
                expect_near(dqkv, want, ulp + 2e-6, 4 * ulp + 1e-5, b.name(dtype) + "dqkv");
                EXPECT_LE(error_in_norm(dqkv, want), ulp + 2e-6) << b.name(dtype);
                EXPECT_TRUE(same_values(dqkv, again)) << b.name(dtype) << "two runs differ";
            }
        }
}

// wgmma that computes nonsense is noticed by itself: the results are mma.sync's then. In a process of its own,
// as what was found out is kept.
TEST(GpuAttention, WrongProductsOfHopperAreNotUsed) {
    if (gpu_info().name.find("stand-in") == std::string::npos)
        GTEST_SKIP() << "only the stand-in can pretend that they are wrong";
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    auto right_all_the_same = [] {
        setenv("CUSIM_WGMMA", "broken", 1);
        Batch b(2, 1, 64, {70});
        TestTensor qkv = random_in(DType::bf16, {b.N, b.width()}, 1);
        TestTensor y = zeros({b.N, b.H * b.D}), lse = zeros({b.N, b.H});
        const Lists host(b, false), device(b, true);
        cpu_ops(DType::f64).attention_forward(y, lse, qkv, host.ragged, b.H, b.K, b.scale());
        GpuTensor y_g(DType::bf16, poison({b.N, b.H * b.D})), lse_g(DType::f32, lse);
        gpu_ops(DType::bf16)
            .attention_forward(y_g, lse_g, GpuTensor(DType::bf16, qkv), device.ragged, b.H, b.K,
                               b.scale());
        exit(error_in_norm(y_g, y) < half_ulp(DType::bf16) ? 0 : 1);
    };
    EXPECT_EXIT(right_all_the_same(), testing::ExitedWithCode(0),
                "heads of 64 channels wgmma is off by .* mma.sync is used");
}

TEST(GpuAttention, ErrorsNameOpAndTensor) {
    const Ops& ops = gpu_ops(DType::bf16);
    Batch b(2, 1, 8, {3});
    const Lists device(b, true);
    GpuTensor qkv(DType::bf16, zeros({3, 32})), y(DType::bf16, zeros({3, 16}));
    GpuTensor lse(DType::f32, zeros({3, 2})), wide(DType::bf16, zeros({3, 3 * 264}));
    expect_error([&] { ops.attention_forward(lse, lse, qkv, device.ragged, 2, 1, 1); },
                 "attention_forward: y has shape (3, 2)");
    expect_error([&] { ops.attention_forward(y, lse, qkv, device.ragged, 3, 2, 1); },
                 "3 query heads are no multiple of 2 key heads");
    expect_error([&] { ops.attention_forward(y, lse, wide, device.ragged, 1, 1, 1); },
                 "heads are 264 wide; this backend takes up to 256");
}

// ---- decoding -----------------------------------------------------------------------------------

// A cache whose pages start as NaN: what was not written must not matter.
struct Cache {
    GpuTensor k, v;
    KvCache cache;
    Cache(DType dtype, int pages, int K, int D)
        : k(dtype, poison({pages, K, 64, D})), v(dtype, poison({pages, K, 64, D})) {
        cache.k = k, cache.v = v;
    }
};

// Sequences of several lengths read the keys of one: they share its pages.
TEST(GpuDecode, EqualsTheForwardPass) {
    for (DType dtype : gpu_types)
        for (auto [T, H, K, D] :
             {std::array{70, 3, 1, 64}, std::array{650, 2, 1, 32}, std::array{300, 20, 1, 16},
              std::array{140, 4, 2, 128}, std::array{90, 2, 2, 24}, std::array{130, 2, 1, 6}}) {
            Batch b(H, K, D, {T});
            TestTensor qkv = random_in(dtype, {T, b.width()}, 1);
            TestTensor y = zeros({T, H * D}), lse = zeros({T, H});
            const Lists host(b, false);
            cpu_ops(DType::f64).attention_forward(y, lse, qkv, host.ragged, H, K, b.scale());

            const int pages = (T + 63) / 64,
                      lengths_of_interest[] = {1, 2, 17, 63, 64, 65, T - 1, T};
            Cache c(dtype, pages + 2, K, D);
            std::vector<int32_t> place, slots, rows, table, lengths;
            for (int p = 0; p < pages; ++p) place.push_back((p * 5 + 1) % pages + 2);
            if (pages % 5 == 0) // then 5 is no step through all of them
                for (int p = 0; p < pages; ++p) place[p] = pages - 1 - p + 2;
            for (int t = 0; t < T; ++t) slots.push_back(place[t / 64] * 64 + t % 64);
            for (int length : lengths_of_interest) {
                rows.push_back(length - 1), lengths.push_back(length);
                for (int p = 0; p < pages; ++p)
                    table.push_back(p * 64 < length ? place[p] : 1 << 30); // must not be read
            }
            rows.push_back(0), lengths.push_back(0); // a row that stands for no sequence
            table.insert(table.end(), pages, 1 << 30);

            const Ops& ops = gpu_ops(dtype);
            const int B = (int)rows.size();
            GpuTensor qkv_g(dtype, qkv), queries(dtype, poison({B, b.width()}));
            ops.kv_write(c.cache, qkv_g, GpuTensor(dtype, indices(slots)), H, K);
            ops.gather_rows(queries, qkv_g, GpuTensor(dtype, indices(rows)));
            GpuTensor got(dtype, poison({B, H * D})), alone(dtype, poison({1, H * D}));
            GpuTensor pages_g(dtype, indices(table)), length_g(dtype, indices(lengths));
            ops.decode_attention(got, {}, queries, c.cache, pages_g.view.view({B, pages}), length_g,
                                 H, K, b.scale());
            TestTensor want = zeros({B, H * D});
            for (int i = 0; i + 1 < B; ++i)
                for (int d = 0; d < H * D; ++d) want.set(i * H * D + d, y.get(rows[i] * H * D + d));
            const double ulp = half_ulp(dtype);
            expect_near(got, want, ulp + 2e-6, ulp + 2e-6, b.name(dtype) + "y"); // as above
            EXPECT_LE(error_in_norm(got, want), ulp + 2e-6) << b.name(dtype);

            // A sequence by itself has the bits that it has in a batch.
            const int last = B - 2;
            ops.decode_attention(alone, {}, queries.view.rows(last, 1), c.cache,
                                 pages_g.view.view({B, pages}).rows(last, 1),
                                 length_g.view.rows(last, 1), H, K, b.scale());
            const TestTensor one = alone.get(), all = got.get();
            EXPECT_TRUE(same_bits(one, all.view.rows(last, 1))) << b.name(dtype) << "alone";
        }
}

// Many sequences are cut into fewer parts than few: into two (K = 1) or none (K = 2) instead of parts of 128
// keys. Each is within two roundings to bf16 of the sequence by itself, and has the same bits again.
TEST(GpuDecode, ManySequencesAgreeWithEachAlone) {
    const DType dtype = DType::bf16;
    const int B = 100, D = 16, longest = 650, pages = (longest + 63) / 64;
    for (int K : {1, 2}) {
        const int H = 3 * K, width = (H + 2 * K) * D;
        const Ops& ops = gpu_ops(dtype);
        TestTensor qkv = random_in(dtype, {longest, width}, 1);
        Cache c(dtype, pages, K, D);
        std::vector<int32_t> slots, rows, lengths, table;
        for (int t = 0; t < longest; ++t) slots.push_back(t);
        for (int b = 0; b < B; ++b) {
            lengths.push_back(b % 9 ? 1 + b % 5 : longest - 2 * b);
            rows.push_back(lengths.back() - 1);
            for (int p = 0; p < pages; ++p) table.push_back(p);
        }
        GpuTensor qkv_g(dtype, qkv), queries(dtype, poison({B, width}));
        ops.kv_write(c.cache, qkv_g, GpuTensor(dtype, indices(slots)), H, K);
        ops.gather_rows(queries, qkv_g, GpuTensor(dtype, indices(rows)));
        GpuTensor all(dtype, poison({B, H * D})), again(dtype, poison({B, H * D})),
            one(dtype, poison({1, H * D}));
        GpuTensor table_g(dtype, indices(table)), length(dtype, indices(lengths));
        const Tensor by_row = table_g.view.view({B, pages});
        ops.decode_attention(all, {}, queries, c.cache, by_row, length, H, K, 0.25);
        ops.decode_attention(again, {}, queries, c.cache, by_row, length, H, K, 0.25);
        EXPECT_TRUE(same_values(all, again)) << K;
        const TestTensor got = all.get();
        for (int b = 0; b < B; b += 9) {
            ops.decode_attention(one, {}, queries.view.rows(b, 1), c.cache, by_row.rows(b, 1),
                                 length.view.rows(b, 1), H, K, 0.25);
            const TestTensor alone = one.get();
            for (int i = 0; i < H * D; ++i)
                EXPECT_NEAR(alone.get(i), got.get(b * H * D + i),
                            2 * half_ulp(dtype) * std::abs(alone.get(i)) + 1e-3)
                    << K << " " << b;
        }
    }
}

TEST(GpuDecode, WritesAndCopiesPages) {
    for (DType dtype : gpu_types)
        for (int D : {6, 16}) {
            const int H = 2, K = 2, N = 5, pages = 4, width = (H + 2 * K) * D;
            const Ops& ops = gpu_ops(dtype);
            TestTensor qkv = random_in(dtype, {N, width}, 1);
            Cache c(dtype, pages, K, D);
            const std::vector<int32_t> slots = {64, -1, 191, 70, 130};
            ops.kv_write(c.cache, GpuTensor(dtype, qkv), GpuTensor(dtype, indices(slots)), H, K);
            ops.kv_copy(c.cache, GpuTensor(dtype, indices({0, 1, 3})),
                        GpuTensor(dtype, indices({1, 1, 2})), 2); // the third stays out
            const TestTensor k = c.k.get(), v = c.v.get();
            int written = 0;
            for (int64_t i = 0; i < k.size(); ++i) written += !std::isnan(k.get(i));
            EXPECT_EQ(written, (4 + 2) * K * D); // 4 rows, and the 2 of page 1 again
            auto at = [&](int page, int head, int place, int d) {
                return ((page * K + head) * 64 + place) * D + d;
            };
            for (int n = 0; n < N; ++n)
                for (int head = 0; head < K && slots[n] >= 0; ++head)
                    for (int d = 0; d < D; ++d)
                        for (int page : {slots[n] / 64, 0}) {
                            if (page == 0 && slots[n] / 64 != 1) continue;
                            const int64_t i = at(page, head, slots[n] % 64, d);
                            EXPECT_EQ(k.get(i), qkv.get(n * width + (H + head) * D + d));
                            EXPECT_EQ(v.get(i), qkv.get(n * width + (H + K + head) * D + d));
                        }
        }
}

} // namespace
