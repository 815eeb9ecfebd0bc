#include "gpu_testing.h"
#include "rollout/generate.h"
#include "train/step.h"

// The ops for few rows: each against its formula in f64, and against the ops that it stands for, whose
// roundings it makes in the same places.

namespace {

const DType dtype = DType::bf16;
constexpr double eps = 1e-5;

// One rounding of the normed row before the product, one behind it; the two ways to a sum of C products
// differ by f32 roundings, which may turn a rounding to bf16.
double product_error(int C) { return std::max(0.008, 0.02 * std::sqrt(C / 896.0)); }

struct Product {
    TestTensor x, norm, w;
    GpuTensor x_g, norm_g, w_g;
    Product(int N, int O, int C)
        : x(random_in(dtype, {N, C}, 1)), norm(random_in(dtype, {C}, 2)),
          w(random_in(dtype, {O, C}, 3, 1 / std::sqrt(C))), x_g(dtype, x), norm_g(dtype, norm),
          w_g(dtype, w) {}
    Weight weight() const { return {w_g, {}, {}}; }
    // W norm(x) in f64
    TestTensor normed() const {
        const int64_t N = x.view.shape[0], C = x.view.shape[1];
        TestTensor y = zeros({N, C}), s = zeros({N});
        cpu_ops(DType::f64).rmsnorm_forward(y, s, x, norm, eps);
        return times_w(y);
    }
    TestTensor times_w(const TestTensor& y) const {
        TestTensor out = zeros({y.view.shape[0], w.view.shape[0]});
        cpu_ops(DType::f64).linear_forward(out, y, {w, {}, {}}, {});
        return out;
    }
};

// Rows in one group of 8 and in two, full and not, and in up to four groups of 32; channels in whole steps of
// a block and not; as many rows of the weight as one block takes, fewer and more; blocks of each size, where
// there are 4 multiprocessors and where there are 132, and what cublasLt does.
const std::array<int, 3> shapes[] = {
    {1, 16, 8},      {3, 48, 40},    {8, 24, 896},   {16, 40, 136},  {9, 16, 2104}, {12, 32, 72},
    {17, 16, 8},     {32, 24, 600},  {33, 48, 40},   {64, 88, 1000}, {65, 40, 136}, {128, 72, 296},
    {70, 1064, 136}, {20, 2400, 40}, {40, 5400, 16}, {18, 16, 2104}, {20, 120, 40}};

TEST(GpuFewRows, NormLinear) {
    for (auto [N, O, C] : shapes) {
        const Product p(N, O, C);
        GpuTensor y(dtype, poison({N, O})), again(dtype, poison({N, O}));
        const Ops& ops = gpu_ops(dtype);
        ops.norm_linear(y, p.x_g, p.norm_g, p.weight(), eps);
        expect_near(y, p.normed(), 0.01, product_error(C), sizes(dtype, N, C) + "y");

        if (N > 16) continue;
        // a row has its bits whatever the number of rows
        const int last = N - 1;
        ops.norm_linear(again.view.rows(last, 1), p.x_g.view.rows(last, 1), p.norm_g, p.weight(),
                        eps);
        EXPECT_TRUE(same_bits(again.get().view.rows(last, 1), y.get().view.rows(last, 1)))
            << sizes(dtype, N, C);
    }
}

TEST(GpuFewRows, NormSwiglu) {
    for (auto [N, O, C] : shapes) {
        const Product p(N, 2 * O, C);
        TestTensor want = zeros({N, O});
        cpu_ops(DType::f64).swiglu_forward(want, p.normed());
        GpuTensor y(dtype, poison({N, O}));
        gpu_ops(dtype).norm_swiglu(y, p.x_g, p.norm_g, p.weight(), eps);
        expect_near(y, want, 0.03, 2 * product_error(C), sizes(dtype, N, C) + "y");
    }
}

TEST(GpuFewRows, LinearResidual) {
    for (auto [N, O, C] : shapes) {
        const Product p(N, O, C);
        TestTensor x = random_in(dtype, {N, O}, 4), want = zeros({N, O});
        cpu_ops(DType::f64).residual_forward(want, x, p.times_w(p.x));
        GpuTensor z(dtype, poison({N, O}));
        gpu_ops(dtype).linear_residual(z, GpuTensor(dtype, x), p.x_g, p.weight());
        // two roundings, the first of the product
        expect_near(z, want, half_ulp(dtype), 4 * half_ulp(dtype), sizes(dtype, N, C) + "z");
    }
}

// Queries and the cache hold what the separate ops leave there; nothing else in the cache is touched.
TEST(GpuFewRows, NormQkv) {
    for (auto [N, H, K, D, C] :
         {std::array{1, 1, 1, 16, 40}, std::array{5, 4, 2, 32, 64}, std::array{11, 3, 1, 48, 136},
          std::array{16, 2, 1, 16, 32}, std::array{30, 2, 1, 16, 136}, std::array{70, 2, 1, 16, 72},
          std::array{20, 2, 1, 32, 40}, std::array{40, 2, 1, 32, 24}, std::array{20, 66, 1, 32, 24},
          std::array{40, 66, 1, 32, 24}, std::array{18, 1, 1, 16, 2104}})
        for (bool with_bias : {false, true}) {
            const int width = (H + 2 * K) * D, pages = 3;
            const Product p(N, width, C);
            const Ops& ops = gpu_ops(dtype);
            TestTensor bias = random_in(dtype, {width}, 5, 3);
            TestTensor table = random_in(DType::f32, {20, D}, 6);
            std::vector<int32_t> positions, slots;
            for (int n = 0; n < N; ++n) {
                positions.push_back(n * 7 % 20);
                slots.push_back(n == 1 ? -1 : n * 17 % (64 * pages));
            }
            GpuTensor bias_g(dtype, bias), table_g(DType::f32, table),
                position(dtype, indices(positions)), slot(dtype, indices(slots));
            const Tensor given = with_bias ? bias_g.view : Tensor();

            auto cache_of = [&] { return GpuTensor(dtype, poison({pages, K, 64, D})); };
            GpuTensor keys = cache_of(), values = cache_of(), keys2 = cache_of(),
                      values2 = cache_of();
            KvCache cache, cache2;
            cache.k = keys, cache.v = values, cache2.k = keys2, cache2.v = values2;
            GpuTensor qkv(dtype, poison({N, width})), qkv2(dtype, poison({N, width}));
            ops.norm_qkv(qkv, cache, p.x_g, p.norm_g, p.weight(), given, position, table_g, slot, H,
                         K, eps);

            GpuTensor y(dtype, poison({N, C})), s(DType::f32, poison({N}));
            ops.rmsnorm_forward(y, s, p.x_g, p.norm_g, eps);
            ops.linear_forward(qkv2, y, p.weight(), given);
            ops.rope_write(cache2, qkv2, position, table_g, slot, H, K);

            const TestTensor q = qkv.get(), q2 = qkv2.get();
            for (int n = 0; n < N; ++n)
                for (int i = 0; i < H * D; ++i)
                    ASSERT_NEAR(q.get(n * width + i), q2.get(n * width + i),
                                0.1 + std::abs(q.get(n * width + i)) / 64)
                        << n << " " << i;
            for (auto [a, b] : {std::pair{keys.get(), keys2.get()}, {values.get(), values2.get()}})
                for (int64_t i = 0; i < a.size(); ++i) {
                    ASSERT_EQ(std::isnan(a.get(i)), std::isnan(b.get(i))) << i;
                    if (std::isnan(a.get(i))) continue;
                    ASSERT_NEAR(a.get(i), b.get(i), 0.1 + std::abs(a.get(i)) / 64) << i;
                }
        }
}

// rope_forward and kv_write in one, in every table, but for which product is fused with the sum.
TEST(GpuFewRows, RopeWriteIsRopeAndWrite) {
    for (DType type : gpu_types)
        for (auto [N, H, K, D] : {std::array{5, 2, 1, 6}, std::array{7, 3, 2, 16}}) {
            const int width = (H + 2 * K) * D, pages = 2;
            const Ops& ops = gpu_ops(type);
            TestTensor qkv = random_in(type, {N, width}, 1),
                       table = random_in(DType::f32, {9, D}, 2);
            std::vector<int32_t> positions, slots;
            for (int n = 0; n < N; ++n) {
                positions.push_back(n * 5 % 9);
                slots.push_back(n == 2 ? -1 : n * 29 % (64 * pages));
            }
            GpuTensor table_g(DType::f32, table), position(type, indices(positions)),
                slot(type, indices(slots)), one(type, qkv), two(type, qkv);
            auto cache_of = [&] { return GpuTensor(type, poison({pages, K, 64, D})); };
            GpuTensor keys = cache_of(), values = cache_of(), keys2 = cache_of(),
                      values2 = cache_of();
            KvCache cache, cache2;
            cache.k = keys, cache.v = values, cache2.k = keys2, cache2.v = values2;
            ops.rope_write(cache, one, position, table_g, slot, H, K);
            ops.rope_forward(two, position, table_g, H, K);
            ops.kv_write(cache2, two, slot, H, K);
            EXPECT_TRUE(same_values(values, values2)) << sizes(type, N, D);
            const double ulp = 2 * half_ulp(type);
            const TestTensor k = keys.get(), k2 = keys2.get();
            for (int64_t i = 0; i < k.size(); ++i) {
                ASSERT_EQ(std::isnan(k.get(i)), std::isnan(k2.get(i))) << i;
                if (std::isnan(k.get(i))) continue;
                ASSERT_NEAR(k.get(i), k2.get(i), ulp * std::abs(k.get(i)) + 1e-6) << i;
            }
            const TestTensor a = one.get(), b = two.get();
            for (int n = 0; n < N; ++n)
                for (int i = n * width; i < n * width + H * D; ++i)
                    ASSERT_NEAR(a.get(i), b.get(i), ulp * std::abs(a.get(i)) + 1e-6) << i;
        }
}

// Through a whole model: what is drawn has the log-probability that the forward pass gives it, in launches
// for few rows (6 and 20, with prompts of one page and of two) and in the separate ops.
TEST(GpuFewRows, DecodingAgreesWithTheForwardPass) {
    ModelConfig config;
    config.L = 2, config.C = 48, config.H = 2, config.K = 1, config.D = 16, config.F = 40;
    config.V = 96, config.max_positions = 128, config.qkv_bias = true;
    ComputeConfig compute;
    compute.dtype = dtype, compute.gpu = true;
    auto model = make_model(config, compute, true);
    init_params(model->params, config, *model->ops, 3);
    auto set = [&](Tensor x, float first, float step) { // what an initialisation leaves at 0 or 1
        std::vector<float> values;
        for (int i = 0; i < x.size(); ++i) values.push_back(first + step * (float)(i % 7));
        upload_values(*model->ops, x, 0, values.data(), x.size());
    };
    for (const LayerParams& layer : model->params.layer) {
        set(layer.qkv_bias, -1.5, 0.5);
        set(layer.norm1, 0.5, 0.25), set(layer.norm2, 2, -0.25);
    }
    set(model->params.norm, 0.25, 0.25);
    Ops separate = *model->ops, more = separate;
    separate.few_rows = 0, more.few_rows = 128;

    std::vector<std::vector<int32_t>> prompts(2);
    for (int t = 0; t < 70; ++t) prompts[t % 8 ? 0 : 1].push_back(t * 31 % config.V);
    SampleConfig sample;
    sample.max_new_tokens = 7;
    const Ops* few = model->ops;
    for (auto [ops, n] :
         {std::pair{few, 3}, {(const Ops*)&more, 10}, {few, 10}, {(const Ops*)&separate, 3}}) {
        model->ops = ops, sample.n = n;
        EXPECT_EQ(in_few_launches(*model, 2 * n), 2 * n <= ops->few_rows);
        const auto completions = generate(*model, prompts, sample);
        std::vector<TrainSequence> rows;
        for (const Completion& out : completions) {
            TrainSequence& row = rows.emplace_back();
            row.ids = prompts[out.prompt];
            for (int32_t id : out.ids)
                row.target.push_back((int)row.ids.size()), row.ids.push_back(id);
        }
        Pass pass(*model, 1024, 2 * n, false);
        const auto outputs = evaluate_sequences(pass, rows, 1024, {});
        for (size_t i = 0; i < rows.size(); ++i)
            for (size_t t = 0; t < rows[i].target.size(); ++t)
                EXPECT_NEAR(completions[i].logp[t], outputs[i].logp[t], 0.05) << i << " " << t;
    }
}

TEST(GpuFewRows, SaysWhatDoesNotFit) {
    const Ops& ops = gpu_ops(dtype);
    EXPECT_EQ(gpu_ops(DType::f32).few_rows, 0);
    const int N = 129;
    const Product p(N, 16, 8);
    GpuTensor y(dtype, poison({N, 16}));
    expect_error([&] { ops.norm_linear(y, p.x_g, p.norm_g, p.weight(), eps); },
                 "norm_linear: x is (129, 8) bf16");
    const Product narrow(2, 16, 12);
    expect_error(
        [&] {
            ops.norm_linear(y.view.rows(0, 2), narrow.x_g, narrow.norm_g, narrow.weight(), eps);
        },
        "rows are whole pieces of 8");
}

} // namespace
