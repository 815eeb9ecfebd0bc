#include "ops/attention_formula.h"
#include "ops/install.h"
#include "testing.h"

#include <cstring>
#include <omp.h>

namespace {

const Ops& table(DType dtype) { return cpu_ops(dtype); }

// A ragged batch with random queries, keys and values.
struct Batch {
    int H, K, D, N = 0;
    std::vector<int32_t> begin{0}, prefix, parent;
    TestTensor begin_t{DType::i32, {1}}, prefix_t{DType::i32, {1}}, parent_t{DType::i32, {1}};
    Ragged ragged;

    Batch(int H_, int K_, int D_, std::vector<int> lengths, std::vector<int32_t> prefix_ = {},
          std::vector<int32_t> parent_ = {})
        : H(H_), K(K_), D(D_), prefix(prefix_), parent(parent_) {
        for (int n : lengths) begin.push_back(N += n);
        prefix.resize(lengths.size(), 0);
        begin_t = indices(begin), prefix_t = indices(prefix);
        ragged.sequences = (int)lengths.size();
        ragged.begin = begin_t, ragged.prefix = prefix_t;
        if (!parent.empty()) parent_t = indices(parent), ragged.parent = parent_t;
    }
    int width() const { return (H + 2 * K) * D; }
    double scale() const { return 1 / std::sqrt((double)D); }
    TestTensor qkv(uint64_t seed, DType dtype = DType::f64) const {
        return randn({N, width()}, seed, dtype);
    }
    int shared(int s) const {
        int p = parent.empty() ? -1 : parent[s];
        return p < 0 ? 0 : begin[p + 1] - begin[p];
    }
    int row(int s, int position) const {
        return position < shared(s) ? begin[parent[s]] + position : begin[s] + position - shared(s);
    }
};

struct Result {
    TestTensor y, lse;
};

Result run(const Batch& b, const TestTensor& qkv) {
    DType dtype = qkv.view.dtype;
    Result r{zeros({b.N, b.H * b.D}, dtype), zeros({b.N, b.H}, dtype)};
    table(dtype).attention_forward(r.y, r.lse, qkv, b.ragged, b.H, b.K, b.scale());
    return r;
}

TestTensor grad(const Batch& b, const TestTensor& qkv, const TestTensor& dy) {
    Result r = run(b, qkv);
    TestTensor dqkv = zeros({b.N, b.width()}, qkv.view.dtype);
    table(qkv.view.dtype)
        .attention_backward(dqkv, dy, r.y, r.lse, qkv, b.ragged, b.H, b.K, b.scale());
    return dqkv;
}

TestTensor copy(const TestTensor& x, DType dtype) {
    TestTensor y(dtype, {x.view.shape[0], x.view.shape[1]});
    for (int64_t i = 0; i < x.size(); ++i) y.set(i, x.get(i));
    return y;
}

// The plain loops of attention_formula.h, in f64.
Result formula_result(const Batch& b, const TestTensor& qkv) {
    Result r{zeros({b.N, b.H * b.D}), zeros({b.N, b.H})};
    formula::attention_forward(r.y, r.lse, qkv, b.ragged, b.H, b.K, b.scale());
    return r;
}
TestTensor formula_grad(const Batch& b, const TestTensor& qkv, const TestTensor& dy) {
    TestTensor dqkv = zeros({b.N, b.width()});
    formula::attention_backward(dqkv, dy, qkv, b.ragged, b.H, b.K, b.scale());
    return dqkv;
}

// Rows [from, from + count) of a against rows of b, bit for bit.
void expect_same_rows(const TestTensor& a, int from, const TestTensor& b, int other, int count,
                      const char* what) {
    Tensor x = a.view.rows(from, count), y = b.view.rows(other, count);
    ASSERT_EQ(x.bytes(), y.bytes());
    EXPECT_EQ(std::memcmp(x.data, y.data, x.bytes()), 0) << what;
}
void expect_same(const TestTensor& a, const TestTensor& b, const char* what) {
    expect_same_rows(a, 0, b, 0, (int)a.view.shape[0], what);
}

// Sizes around registers, tiles and blocks; every kind of mask.
std::vector<Batch> all_kinds() {
    return {
        {1, 1, 8, {1}},
        {2, 2, 5, {3, 64, 1, 65}},
        {6, 2, 16, {63, 130, 7}},
        {3, 1, 80, {70, 2}, {70, 1}},
        {9, 3, 64, {128, 5}, {40, 0}},
        {4, 1, 4, {200, 90}, {77, 66}},
        {2, 1, 6, {70, 30, 60, 64, 9}, {}, {-1, 0, 0, -1, 3}},
        {3, 1, 7, {20, 3, 50, 1}, {12, 0, 0, 0}, {-1, 0, -1, 0}},
        {50, 1, 3, {9, 66}},
        {8, 2, 32, {100, 60, 90, 20}, {10, 0, 0, 0}, {-1, 0, 0, -1}}, // enough for several threads
        // children that backward takes together, one that is too long for that, one without rows
        {4, 2, 6, {70, 100, 90, 0, 80, 3, 300, 40, 5, 9}, {}, {-1, 0, 0, 0, 0, 0, 0, 0, -1, 8}},
    };
}

// ---- values -------------------------------------------------------------------------------------

TEST(Attention, OneTokenReadsItsOwnValue) {
    Batch b(2, 1, 4, {1, 1});
    TestTensor qkv = b.qkv(1);
    Result r = run(b, qkv);
    for (int n = 0; n < 2; ++n)
        for (int h = 0; h < 2; ++h) {
            double score = 0;
            for (int d = 0; d < 4; ++d) {
                EXPECT_EQ(r.y.get((n * 2 + h) * 4 + d), qkv.get(n * 16 + 12 + d));
                score += qkv.get(n * 16 + h * 4 + d) * qkv.get(n * 16 + 8 + d);
            }
            EXPECT_NEAR(r.lse.get(n * 2 + h), score / 2, 1e-14);
        }
}

TEST(Attention, EqualKeysGiveTheMeanOfTheValuesSoFar) {
    Batch b(1, 1, 2, {100});
    TestTensor qkv = b.qkv(2);
    double mean = 0;
    for (int n = 0; n < 100; ++n) qkv.set(n * 6 + 2, 0.5), qkv.set(n * 6 + 3, -1);
    Result r = run(b, qkv);
    for (int n = 0; n < 100; ++n) {
        mean += (qkv.get(n * 6 + 4) - mean) / (n + 1);
        EXPECT_NEAR(r.y.get(n * 2), mean, 1e-14);
        double score = (0.5 * qkv.get(n * 6) - qkv.get(n * 6 + 1)) / std::sqrt(2.0);
        EXPECT_NEAR(r.lse.get(n), score + std::log(n + 1.0), 1e-13);
    }
}

TEST(Attention, OneLargeScoreTakesAllAndNothingOverflows) {
    for (DType dtype : {DType::f32, DType::f64}) {
        Batch b(1, 1, 1, {150});
        TestTensor qkv = zeros({150, 3}, dtype);
        for (int n = 0; n < 150; ++n)
            qkv.set(n * 3, 1), qkv.set(n * 3 + 1, n == 70 ? 3e4 : -3e4), qkv.set(n * 3 + 2, n);
        Result r = run(b, qkv);
        for (int n = 70; n < 150; ++n) {
            EXPECT_EQ(r.y.get(n), 70);
            EXPECT_EQ(r.lse.get(n), 3e4);
        }
    }
}

TEST(Attention, EqualsTheFormula) {
    for (const Batch& b : all_kinds()) {
        TestTensor qkv = b.qkv(3);
        Result want = formula_result(b, qkv), got = run(b, qkv);
        expect_close(got.y, want.y, 1e-12, "y");
        expect_close(got.lse, want.lse, 1e-12, "lse");
        Result single = run(b, copy(qkv, DType::f32));
        expect_close(single.y, want.y, 1e-5, "f32 y");
        expect_close(single.lse, want.lse, 1e-5, "f32 lse");
    }
}

// ---- gradients ----------------------------------------------------------------------------------

TEST(Attention, GradientEqualsCentralDifferences) {
    const Batch batches[] = {
        {2, 1, 3, {4, 1, 9}},
        {3, 3, 2, {67}},
        {6, 2, 5, {7, 5}, {4, 5}},
        {3, 1, 2, {66, 3, 5}, {5, 0, 0}, {-1, 0, 0}},
        {2, 1, 2, {5, 4, 70, 2}, {}, {-1, 0, 0, -1}},
    };
    for (const Batch& b : batches) {
        TestTensor qkv = b.qkv(4), dy = randn({b.N, b.H * b.D}, 5);
        expect_gradient("dqkv", qkv, grad(b, qkv, dy), [&] { return dot(run(b, qkv).y, dy); });
    }
}

TEST(Attention, GradientEqualsTheFormulas) {
    for (const Batch& b : all_kinds()) {
        TestTensor qkv = b.qkv(33), dy = randn({b.N, b.H * b.D}, 34);
        expect_close(grad(b, qkv, dy), formula_grad(b, qkv, dy), 1e-12, "dqkv");
    }
}

TEST(AttentionFormula, GradientEqualsCentralDifferences) {
    const Batch b(2, 1, 3, {4, 3, 2}, {2, 0, 0}, {-1, 0, -1});
    TestTensor qkv = b.qkv(35), dy = randn({b.N, b.H * b.D}, 36);
    expect_gradient("dqkv", qkv, formula_grad(b, qkv, dy),
                    [&] { return dot(formula_result(b, qkv).y, dy); });
}

TEST(Attention, GradientAlongARandomDirectionInEveryKindOfBatch) {
    for (const Batch& b : all_kinds()) {
        TestTensor qkv = b.qkv(6), dy = randn({b.N, b.H * b.D}, 7);
        TestTensor direction = b.qkv(8), moved = copy(qkv, DType::f64);
        const double h = 1e-6;
        auto loss = [&](double step) {
            for (int64_t i = 0; i < qkv.size(); ++i)
                moved.set(i, qkv.get(i) + step * direction.get(i));
            return dot(run(b, moved).y, dy);
        };
        TestTensor dqkv = grad(b, qkv, dy);
        const double want = (loss(h) - loss(-h)) / (2 * h);
        const double scale = std::sqrt(dot(dqkv, dqkv));
        EXPECT_TRUE(std::abs(dot(dqkv, direction) - want) <= 1e-7 * scale)
            << dot(dqkv, direction) << " " << want;
        TestTensor single = grad(b, copy(qkv, DType::f32), copy(dy, DType::f32));
        expect_close(single, dqkv, 2e-4, "f32 dqkv");
    }
}

TEST(Attention, BackwardAddsToWhatIsThere) {
    for (const Batch& b : all_kinds()) {
        TestTensor qkv = b.qkv(9), dy = randn({b.N, b.H * b.D}, 10), before = b.qkv(11);
        TestTensor dqkv = copy(before, DType::f64), alone = grad(b, qkv, dy);
        Result r = run(b, qkv);
        table(DType::f64)
            .attention_backward(dqkv, dy, r.y, r.lse, qkv, b.ragged, b.H, b.K, b.scale());
        for (int64_t i = 0; i < dqkv.size(); ++i)
            ASSERT_NEAR(dqkv.get(i), before.get(i) + alone.get(i), 1e-12);
    }
}

// The sums of long sequences are taken in several parts.
TEST(Attention, LongSequenceGradientAlongARandomDirection) {
    Batch b(2, 1, 3, {10, 1100}, {}, {-1, 0});
    TestTensor qkv = b.qkv(12), dy = randn({b.N, b.H * b.D}, 13), direction = b.qkv(14);
    TestTensor dqkv = grad(b, qkv, dy), moved = copy(qkv, DType::f64);
    auto loss = [&](double step) {
        for (int64_t i = 0; i < qkv.size(); ++i) moved.set(i, qkv.get(i) + step * direction.get(i));
        return dot(run(b, moved).y, dy);
    };
    const double want = (loss(1e-6) - loss(-1e-6)) / 2e-6;
    EXPECT_TRUE(std::abs(dot(dqkv, direction) - want) <= 1e-7 * std::sqrt(dot(dqkv, dqkv)));
}

// ---- masks --------------------------------------------------------------------------------------

// Row i of sequence s sees what `formula` says: what it does not see may even be NaN.
TEST(Attention, WhatARowDoesNotSeeCannotReachIt) {
    for (DType dtype : {DType::f32, DType::f64})
        for (const Batch& b : all_kinds()) {
            const TestTensor qkv = copy(b.qkv(15), dtype);
            const TestTensor dy = randn({b.N, b.H * b.D}, 16, dtype);
            const Result clean = run(b, qkv);
            const TestTensor clean_grad = grad(b, qkv, dy);
            for (int s = 0; s < b.ragged.sequences; ++s) {
                const int rows = b.begin[s + 1] - b.begin[s], cut = rows / 2;
                const bool is_parent =
                    std::find(b.parent.begin(), b.parent.end(), s) != b.parent.end();
                if (is_parent || cut < b.prefix[s]) continue;
                TestTensor spoiled = copy(qkv, dtype);
                for (int64_t i = (int64_t)(b.begin[s] + cut) * b.width();
                     i < (int64_t)b.begin[s + 1] * b.width(); ++i)
                    spoiled.set(i, NAN);
                const Result r = run(b, spoiled);
                expect_same_rows(r.y, 0, clean.y, 0, b.begin[s] + cut, "earlier rows of y");
                expect_same_rows(r.lse, 0, clean.lse, 0, b.begin[s] + cut, "earlier rows of lse");
                const int after = b.begin[s + 1];
                if (after < b.N) {
                    expect_same_rows(r.y, after, clean.y, after, b.N - after, "later rows of y");
                }
                EXPECT_TRUE(cut == rows || std::isnan(r.y.get((int64_t)(after - 1) * b.H * b.D)));
                // Queries see no future: dq of the earlier rows is what it was.
                const TestTensor g = grad(b, spoiled, dy);
                for (int n = b.begin[s]; n < b.begin[s] + cut; ++n)
                    EXPECT_EQ(std::memcmp(g.view.rows(n, 1).data, clean_grad.view.rows(n, 1).data,
                                          b.H * b.D * dtype_bytes(dtype)),
                              0);
            }
        }
}

TEST(Attention, OneRowsGradientReachesOnlyWhatItSees) {
    for (const Batch& b : all_kinds()) {
        const int s = b.ragged.sequences - 1, i = (b.begin[s + 1] - b.begin[s]) / 2;
        const int position = b.shared(s) + i;
        TestTensor qkv = b.qkv(17), dy = zeros({b.N, b.H * b.D});
        for (int c = 0; c < b.H * b.D; ++c)
            dy.set((int64_t)(b.begin[s] + i) * b.H * b.D + c, 1 + c);
        TestTensor dqkv = grad(b, qkv, dy);
        std::vector<bool> sees(b.N, false);
        for (int j = 0; j < b.shared(s) + b.begin[s + 1] - b.begin[s]; ++j)
            if (j <= position || (position < b.prefix[s] && j < b.prefix[s]))
                sees[b.row(s, j)] = true;
        for (int n = 0; n < b.N; ++n)
            for (int c = 0; c < b.width(); ++c) {
                bool query = c < b.H * b.D, value = c >= (b.H + b.K) * b.D;
                bool reached = query ? n == b.begin[s] + i : sees[n];
                if (reached && value) {
                    EXPECT_NE(dqkv.get((int64_t)n * b.width() + c), 0) << n << " " << c;
                } else if (!reached) {
                    EXPECT_EQ(dqkv.get((int64_t)n * b.width() + c), 0) << n << " " << c;
                }
            }
    }
}

// ---- the same bits whatever is around -----------------------------------------------------------

TEST(Attention, SameBitsAgainAndWithAnyNumberOfThreads) {
    const int threads = omp_get_max_threads();
    for (DType dtype : {DType::f32, DType::f64})
        for (const Batch& b : all_kinds()) {
            TestTensor qkv = copy(b.qkv(18), dtype), dy = randn({b.N, b.H * b.D}, 19, dtype);
            omp_set_num_threads(1);
            Result one = run(b, qkv);
            TestTensor one_grad = grad(b, qkv, dy);
            for (int count : {1, 2, 3}) {
                omp_set_num_threads(count);
                Result r = run(b, qkv);
                expect_same(r.y, one.y, "y");
                expect_same(r.lse, one.lse, "lse");
                expect_same(grad(b, qkv, dy), one_grad, "dqkv");
            }
            omp_set_num_threads(threads);
        }
}

// One sequence of T tokens: alone, first in a batch with others, and every shorter beginning of it.
TEST(Attention, RowsAreTheSameInAnyBatch) {
    for (DType dtype : {DType::f32, DType::f64})
        for (int T : {63, 64, 65, 130})
            for (int group : {1, 3}) {
                const int D = 20, H = 2 * group, K = 2;
                Batch alone(H, K, D, {T}), among(H, K, D, {5, T, 77}, {3, 0, 9});
                TestTensor qkv = copy(among.qkv(20), dtype);
                TestTensor own(dtype, {T, among.width()});
                std::memcpy(own.view.data, qkv.view.rows(5, T).data, own.view.bytes());
                Result want = run(alone, own), r = run(among, qkv);
                expect_same_rows(r.y, 5, want.y, 0, T, "y in a batch");
                expect_same_rows(r.lse, 5, want.lse, 0, T, "lse in a batch");
                for (int n : {1, 31, 62, 63}) {
                    Batch beginning(H, K, D, {n});
                    TestTensor part(dtype, {n, among.width()});
                    std::memcpy(part.view.data, own.view.data, part.view.bytes());
                    Result p = run(beginning, part);
                    expect_same_rows(p.y, 0, want.y, 0, n, "y of a beginning");
                    expect_same_rows(p.lse, 0, want.lse, 0, n, "lse of a beginning");
                }
            }
}

TEST(Attention, SharedParentRowsGiveTheBitsOfThePlainLayout) {
    for (DType dtype : {DType::f32, DType::f64})
        for (int shared : {1, 63, 64, 65, 130})
            for (int rows : {1, 40, 64, 100}) {
                const int H = 3, K = 1, D = 12;
                Batch tree(H, K, D, {shared, 17, rows}, {}, {-1, 0, 0});
                Batch plain(H, K, D, {shared + rows});
                TestTensor qkv = copy(tree.qkv(21), dtype);
                TestTensor own(dtype, {shared + rows, tree.width()});
                const size_t row = tree.width() * dtype_bytes(dtype);
                std::memcpy(own.view.data, qkv.view.data, shared * row);
                std::memcpy((char*)own.view.data + shared * row,
                            (char*)qkv.view.data + (shared + 17) * row, rows * row);
                Result want = run(plain, own), r = run(tree, qkv);
                expect_same_rows(r.y, 0, want.y, 0, shared, "y of the parent");
                expect_same_rows(r.y, shared + 17, want.y, shared, rows, "y of the child");
                expect_same_rows(r.lse, shared + 17, want.lse, shared, rows, "lse of the child");
            }
}

// ---- the cache ----------------------------------------------------------------------------------

// A cache whose pages start as NaN: what was not written must not matter.
struct Cache {
    TestTensor k, v;
    KvCache cache;
    Cache(int pages, int K, int D, DType dtype)
        : k(dtype, {pages, K, 64, D}), v(dtype, {pages, K, 64, D}) {
        for (int64_t i = 0; i < k.size(); ++i) k.set(i, NAN), v.set(i, NAN);
        cache.k = k, cache.v = v;
    }
};

// The same batch with its rows elsewhere in the tensors: Ragged::row.
TEST(Attention, RowsInAnotherOrderHaveTheSameBits) {
    for (Batch& b : all_kinds()) {
        TestTensor qkv = b.qkv(31), dy = randn({b.N, b.H * b.D}, 32);
        std::vector<int32_t> place(b.N);
        for (int n = 0; n < b.N; ++n) place[n] = n;
        Rng(5).shuffle(place);
        auto move = [&](const TestTensor& x) {
            TestTensor y = zeros({x.view.shape[0], x.view.shape[1]});
            for (int n = 0; n < b.N; ++n)
                std::memcpy(y.view.rows(place[n], 1).data, x.view.rows(n, 1).data,
                            x.view.rows(n, 1).bytes());
            return y;
        };
        Result want = run(b, qkv);
        TestTensor dqkv = grad(b, qkv, dy), elsewhere = indices(place);
        b.ragged.row = elsewhere;
        Result got = run(b, move(qkv));
        expect_same(got.y, move(want.y), "y");
        expect_same(got.lse, move(want.lse), "lse");
        expect_same(grad(b, move(qkv), move(dy)), move(dqkv), "dqkv");
    }
}

TEST(Decode, GivesTheBitsOfTheFullForward) {
    for (DType dtype : {DType::f32, DType::f64})
        for (int T : {63, 64, 65, 130})
            for (int group : {1, 3})
                for (int D : {8, 5, 16, 64, 80, 128}) {
                    const int H = 2 * group, K = 2;
                    Batch b(H, K, D, {T});
                    TestTensor qkv = copy(b.qkv(22), dtype);
                    Result want = run(b, qkv);
                    Cache c(4, K, D, dtype);
                    const int32_t page[] = {2, 0, 3};
                    std::vector<int32_t> slots, pages, lengths;
                    for (int t = 0; t < T; ++t) {
                        slots.push_back(page[t / 64] * 64 + t % 64);
                        pages.insert(pages.end(), {2, 0, 3});
                        lengths.push_back(t + 1);
                    }
                    // Token by token, for some; each time nothing later is in the cache yet.
                    for (int t = 0; t < T; ++t) {
                        TestTensor slot = indices({slots[t]});
                        table(dtype).kv_write(c.cache, qkv.view.rows(t, 1), slot, H, K);
                        if (t % 13 && t < T - 2) continue;
                        TestTensor y = zeros({1, H * D}, dtype), one = indices({2, 0, 3});
                        TestTensor length = indices({t + 1});
                        table(dtype).decode_attention(y, {}, qkv.view.rows(t, 1), c.cache,
                                                      one.view.view({1, 3}), length, H, K,
                                                      b.scale());
                        expect_same_rows(y, 0, want.y, t, 1, "one sequence");
                    }
                    // All rows at once: T sequences of all lengths that share the pages.
                    TestTensor y = zeros({T, H * D}, dtype), page_list = indices(pages);
                    TestTensor lse = zeros({T, H}, dtype), length = indices(lengths);
                    table(dtype).decode_attention(y, lse, qkv, c.cache, page_list.view.view({T, 3}),
                                                  length, H, K, b.scale());
                    expect_same(y, want.y, "all rows");
                    expect_same(lse, want.lse, "lse of all rows");
                }
}

TEST(Decode, CopiedPagesAndLeftOutRows) {
    const int H = 2, K = 1, D = 6;
    Batch b(H, K, D, {70});
    TestTensor qkv = b.qkv(23);
    Result want = run(b, qkv);
    Cache c(4, K, D, DType::f64);
    std::vector<int32_t> slots;
    for (int t = 0; t < 70; ++t) slots.push_back(t == 69 ? -1 : 64 + t); // pages 1 and 2
    TestTensor slot = indices(slots), from = indices({2, 1}), to = indices({0, 1});
    const Ops& ops = table(DType::f64);
    ops.kv_write(c.cache, qkv, slot, H, K);
    ops.kv_copy(c.cache, to, from, 1);
    TestTensor last = indices({5}); // the token left out goes to the copy of page 2 only
    ops.kv_write(c.cache, qkv.view.rows(69, 1), last, H, K);
    TestTensor y = zeros({2, H * D}), pages = indices({1, 0, 1, 2}), length = indices({70, 69});
    TestTensor queries = zeros({2, b.width()});
    std::memcpy(queries.view.data, qkv.view.rows(69, 1).data, b.width() * 8);
    std::memcpy(queries.view.rows(1, 1).data, qkv.view.rows(68, 1).data, b.width() * 8);
    ops.decode_attention(y, {}, queries, c.cache, pages.view.view({2, 2}), length, H, K, b.scale());
    expect_same_rows(y, 0, want.y, 69, 1, "through the copied page");
    expect_same_rows(y, 1, want.y, 68, 1, "through the page it was copied from");
    int empty = 0;
    for (int64_t i = 0; i < c.v.size(); ++i) empty += std::isnan(c.v.get(i));
    EXPECT_EQ(empty, (4 * 64 - 69 - 6) * D); // 69 tokens, and page 0's five copied and one own
}

TEST(Attention, WrongArgumentsAreNamed) {
    auto message = [](auto call) {
        try {
            call();
        } catch (const Error& e) {
            return std::string(e.what());
        }
        return std::string();
    };
    Batch b(2, 1, 4, {3}), wrong(2, 1, 4, {4}), orphan(2, 1, 4, {2, 1}, {}, {1, -1});
    TestTensor qkv = b.qkv(1), y = zeros({3, 8}), lse = zeros({3, 2});
    const Ops& ops = table(DType::f64);
    auto forward = [&](Tensor out, const Ragged& ragged, int H) {
        return message([&] { ops.attention_forward(out, lse, qkv, ragged, H, 1, 1); });
    };
    EXPECT_EQ(forward(y, b.ragged, 2), "");
    EXPECT_NE(forward(y.view.rows(0, 2), b.ragged, 2).find("attention_forward: y"),
              std::string::npos);
    EXPECT_NE(forward(y, wrong.ragged, 2).find("cover rows 0 to 4, of 3"), std::string::npos);
    EXPECT_NE(forward(y, orphan.ragged, 2).find("parent"), std::string::npos);
    EXPECT_NE(forward(y, b.ragged, 3).find("heads"), std::string::npos);
    Cache c(1, 1, 4, DType::f64);
    TestTensor slot = indices({0, 1, 64});
    EXPECT_NE(message([&] { ops.kv_write(c.cache, qkv, slot, 2, 1); }).find("slot 64 of row 2"),
              std::string::npos);
    TestTensor pages = indices({0, 0, 1}), length = indices({3, 64, 1});
    EXPECT_NE(
        message([&] {
            ops.decode_attention(y, {}, qkv, c.cache, pages.view.view({3, 1}), length, 2, 1, 1);
        }).find("page 1 of sequence 2"),
        std::string::npos);
}

} // namespace

// ---- prefix attention by hand -------------------------------------------------------------------

// One head of width 1 without scaling: q (1, 2, -1), k (1, 0, 1/2), v (1, 2, 4), dO = 1, for the prefixes
// 0 (causal), 2 and 3 (all see all). Values computed by hand, row by row.
TEST(Attention, PrefixesOfNoTwoAndAllTokens) {
    struct Case {
        int prefix;
        double o[3], dq[3], dk[3], dv[3];
    };
    const Case cases[] = {
        {0,
         {1, 1.119203, 2.428068},
         {0, -.104994, -.024637},
         {.056096, .426795, -.482891},
         {2.067121, .625683, .307196}},
        {2,
         {1.268941, 1.119203, 2.428068},
         {-.196612, -.104994, -.024637},
         {-.140516, .623407, -.482891},
         {1.798179, .894625, .307196}},
        {3,
         {2.107911, 1.824216, 2.428068},
         {-.270514, -.282064, -.024637},
         {-1.391657, .228353, 1.163303},
         {1.358045, .782835, .859120}},
    };
    for (const Case& c : cases) {
        const Batch b(1, 1, 1, {3}, {c.prefix});
        TestTensor qkv = zeros({3, 3}), dy = zeros({3, 1});
        const double q[] = {1, 2, -1}, k[] = {1, 0, .5}, v[] = {1, 2, 4};
        for (int t = 0; t < 3; ++t) {
            qkv.set(3 * t, q[t]), qkv.set(3 * t + 1, k[t]), qkv.set(3 * t + 2, v[t]);
            dy.set(t, 1);
        }
        const Result r = run(b, qkv);
        const TestTensor dqkv = grad(b, qkv, dy);
        for (int t = 0; t < 3; ++t) {
            EXPECT_NEAR(r.y.get(t), c.o[t], 1e-6);
            EXPECT_NEAR(dqkv.get(3 * t), c.dq[t], 1e-6);
            EXPECT_NEAR(dqkv.get(3 * t + 1), c.dk[t], 1e-6);
            EXPECT_NEAR(dqkv.get(3 * t + 2), c.dv[t], 1e-6);
        }
    }
}

// No prefix is causal attention to the last bit.
TEST(Attention, APrefixOfNoneIsCausalToTheBit) {
    const Batch none(4, 2, 6, {70, 5}, {0, 0});
    Batch causal = none;
    causal.ragged.prefix = {};
    for (DType dtype : {DType::f32, DType::f64}) {
        const TestTensor qkv = copy(none.qkv(8), dtype), dy = randn({none.N, 24}, 9, dtype);
        expect_same(run(none, qkv).y, run(causal, qkv).y, "y");
        expect_same(grad(none, qkv, dy), grad(causal, qkv, dy), "dqkv");
    }
}
