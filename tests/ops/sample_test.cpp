#include "ops_testing.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace {

struct Drawn {
    std::vector<int> token;
    std::vector<double> logp, entropy;
};

Drawn run_sample(const TestTensor& logits, const std::vector<double>& uniform,
                 const SampleOptions& options, std::vector<int32_t> barred = {},
                 std::vector<int32_t> bar = {}) {
    DType dtype = logits.view.dtype;
    int64_t B = logits.view.shape[0];
    TestTensor z = clone(logits), token(DType::i32, {B}), logp = zeros({B}, dtype),
               entropy = zeros({B}, dtype);
    cpu_ops(dtype).sample(token, logp, entropy, z, values({B}, uniform, dtype),
                          barred.empty() ? Tensor() : indices(barred).view,
                          bar.empty() ? Tensor() : indices(bar).view, options);
    Drawn drawn;
    for (int64_t b = 0; b < B; ++b)
        drawn.token.push_back(token.view.as<int32_t>()[b]), drawn.logp.push_back(logp.get(b)),
            drawn.entropy.push_back(entropy.get(b));
    return drawn;
}

// The tokens that stay and their probabilities, by sorting: what transformers' warpers do in turn.
std::vector<double> reference(std::vector<double> z, const SampleOptions& options) {
    int V = (int)z.size();
    for (double& t : z) t /= options.temperature;
    std::vector<int> order(V);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int i, int j) { return z[i] > z[j]; });
    int left = options.top_k > 0 ? std::min(options.top_k, V) : V;
    double total = 0, before = 0;
    for (int i = 0; i < left; ++i) total += std::exp(z[order[i]] - z[order[0]]);
    int stay = 0;
    while (stay < left && (stay == 0 || options.top_p >= 1 || before < options.top_p * total))
        before += std::exp(z[order[stay++]] - z[order[0]]);
    std::vector<double> p(V, 0);
    double sum = 0;
    for (int i = 0; i < stay; ++i) {
        double e = std::exp(z[order[i]] - z[order[0]]);
        if (e >= options.min_p) p[order[i]] = e, sum += e;
    }
    for (double& x : p) x /= sum;
    return p;
}

std::vector<double> row_of(const TestTensor& z) {
    std::vector<double> row;
    for (int64_t v = 0; v < z.size(); ++v) row.push_back(z.get(v));
    return row;
}

} // namespace

TEST(sample, by_hand) {
    for (DType dtype : {DType::f32, DType::f64}) {
        TestTensor z = values(
            {4, 3},
            {0, std::log(2.0), 0, 0, std::log(2.0), 0, 0, std::log(2.0), 0, 0, std::log(2.0), 0},
            dtype);
        Drawn drawn = run_sample(z, {0.2, 0.3, 0.7, 0.8}, {}); // p = 1/4, 1/2, 1/4
        EXPECT_EQ(drawn.token, (std::vector<int>{0, 1, 1, 2}));
        EXPECT_NEAR(drawn.logp[0], std::log(0.25), 1e-6);
        EXPECT_NEAR(drawn.logp[1], std::log(0.5), 1e-6);
        // p^2 = 1/6, 4/6, 1/6 at temperature 1/2
        drawn = run_sample(z, {0.16, 0.17, 0.83, 0.84}, {.temperature = 0.5});
        EXPECT_EQ(drawn.token, (std::vector<int>{0, 1, 1, 2}));
        EXPECT_NEAR(drawn.logp[0], std::log(1.0 / 6), 1e-6);
    }
}

TEST(sample, greedy_takes_the_first_largest_and_its_untempered_logp) {
    for (DType dtype : {DType::f32, DType::f64}) {
        TestTensor z = values({1, 5}, {0, 1, 3, 3, 2}, dtype);
        Drawn drawn = run_sample(z, {0.99}, {.temperature = 0});
        EXPECT_EQ(drawn.token[0], 2);
        double sum = 1 + std::exp(1) + 2 * std::exp(3) + std::exp(2);
        EXPECT_NEAR(drawn.logp[0], 3 - std::log(sum), 1e-6);
    }
}

TEST(sample, logp_and_entropy_have_the_bits_of_token_logprob) {
    const int B = 12, V = 9001;
    TestTensor z = randn({B, V}, 1, DType::f32, 3), logp = zeros({B}, DType::f32),
               lse = zeros({B}, DType::f32), entropy = zeros({B}, DType::f32);
    std::vector<double> uniform;
    for (int b = 0; b < B; ++b) uniform.push_back((b + 0.5) / B);
    for (double temperature : {1.0, 0.7, 0.0})
        for (int top_k : {0, 50}) {
            SampleOptions options = {.temperature = temperature, .top_k = top_k};
            // token 3 is barred in every other row: that must not change what logp is measured on
            std::vector<int32_t> bar;
            for (int b = 0; b < B; ++b) bar.push_back(b % 2);
            Drawn drawn = run_sample(z, uniform, options, {3}, bar);
            TestTensor target =
                indices(std::vector<int32_t>(drawn.token.begin(), drawn.token.end()));
            cpu_ops(DType::f32)
                .token_logprob_forward(logp, entropy, lse, z, target,
                                       temperature ? temperature : 1);
            for (int b = 0; b < B; ++b) {
                EXPECT_EQ(drawn.logp[b], logp.get(b)) << b;
                EXPECT_EQ(drawn.entropy[b], entropy.get(b)) << b;
            }
        }
}

TEST(sample, frequencies) {
    const int V = 41, draws = 20000;
    TestTensor row = randn({1, V}, 5, DType::f32);
    SampleOptions all_options[] = {{},
                                   {.temperature = 0.6},
                                   {.top_k = 7},
                                   {.top_p = 0.8},
                                   {.min_p = 0.1},
                                   {.temperature = 1.5, .top_k = 20, .top_p = 0.9, .min_p = 0.05}};
    for (const SampleOptions& options : all_options) {
        TestTensor z = zeros({draws, V}, DType::f32);
        std::vector<double> uniform, p = reference(row_of(row), options);
        Rng rng(9);
        for (int i = 0; i < draws; ++i) {
            for (int v = 0; v < V; ++v) z.set((int64_t)i * V + v, row.get(v));
            uniform.push_back((rng.next_u32() + 0.5) / 4294967296.0 * 0.9999999);
        }
        std::vector<int> count(V);
        for (int token : run_sample(z, uniform, options).token) ++count[token];
        double chi2 = 0;
        int freedom = -1;
        for (int v = 0; v < V; ++v) {
            if (p[v] == 0) {
                EXPECT_EQ(count[v], 0) << v;
                continue;
            }
            chi2 += (count[v] - draws * p[v]) * (count[v] - draws * p[v]) / (draws * p[v]),
                ++freedom;
        }
        // mean: freedom, variance: 2 freedom; five deviations
        EXPECT_LT(chi2, freedom + 5 * std::sqrt(2.0 * freedom));
    }
}

// Every token that stays, and no other, is drawn by a uniform number in the middle of its stretch.
TEST(sample, support_is_that_of_a_full_sort) {
    std::set<size_t> sizes;
    for (DType dtype : {DType::f32, DType::f64})
        for (int seed = 0; seed < 12; ++seed) {
            const int V = seed % 2 ? 301 : 67;
            TestTensor row =
                randn({1, V}, seed, dtype, seed % 3 ? 2 : 0.02); // wide and nearly flat
            if (seed % 4 == 0)
                for (int v = 0; v < V; ++v) row.set(v, std::round(row.get(v) * 2) / 2); // many ties
            for (const SampleOptions& options :
                 {SampleOptions{.top_k = 1},
                  {.top_k = 10},
                  {.top_k = 1000},
                  {.top_p = 0.5},
                  {.top_p = 0.05},
                  {.top_p = 0.97},
                  {.min_p = 0.3},
                  {.min_p = 1},
                  {.temperature = 0.5, .top_k = 30, .top_p = 0.9},
                  {.top_k = 12, .min_p = 0.2},
                  {.temperature = 2, .top_k = 40, .top_p = 0.7, .min_p = 0.02}}) {
                std::vector<double> p = reference(row_of(row), options), uniform;
                std::vector<int> wanted;
                double before = 0;
                for (int v = 0; v < V; ++v)
                    if (p[v] > 0)
                        wanted.push_back(v), uniform.push_back(before + p[v] / 2), before += p[v];
                TestTensor z = zeros({(int64_t)wanted.size(), V}, dtype);
                for (size_t b = 0; b < wanted.size(); ++b)
                    for (int v = 0; v < V; ++v) z.set(b * V + v, row.get(v));
                EXPECT_EQ(run_sample(z, uniform, options).token, wanted)
                    << "seed " << seed << " top_k " << options.top_k << " top_p " << options.top_p
                    << " min_p " << options.min_p;
                sizes.insert(wanted.size());
            }
        }
    EXPECT_GT(sizes.size(), 20u); // the cuts were of many sizes
}

TEST(sample, barred_tokens_are_never_drawn) {
    // token 1 has nearly all the probability
    TestTensor z = values({2, 4}, {0, 20, 1, 0, 0, 20, 1, 0});
    for (const SampleOptions& options :
         {SampleOptions{}, {.top_k = 1}, {.temperature = 0}, {.top_p = 0.5}}) {
        Drawn drawn = run_sample(z, {0.5, 0.5}, options, {1}, {1, 0});
        EXPECT_EQ(drawn.token, (std::vector<int>{2, 1}));
        EXPECT_NEAR(drawn.logp[0], 1 - 20, 1e-6); // of the whole distribution, bar or not
    }
}

TEST(sample, ends_of_the_interval) {
    for (int V : {3, 4096, 4097, 10000}) {
        TestTensor z = zeros({2, V}, DType::f32);
        for (int b = 0; b < 2; ++b) z.set(b * V, -INFINITY), z.set((b + 1) * V - 1, -INFINITY);
        Drawn drawn = run_sample(z, {1e-30, 1 - 0x1p-24}, {});
        EXPECT_EQ(drawn.token, (std::vector<int>{1, V - 2}));
    }
}

TEST(sample, rows_and_threads_do_not_change_bits) {
    const int B = 9, V = 5003;
    TestTensor z = randn({B, V}, 1, DType::f32, 2);
    std::vector<double> uniform;
    for (int b = 0; b < B; ++b) uniform.push_back((b + 0.3) / B);
    for (const SampleOptions& options :
         {SampleOptions{}, {.temperature = 0.8, .top_k = 100, .top_p = 0.9, .min_p = 0.01}}) {
        Drawn all = run_sample(z, uniform, options);
        for (int b : {0, 4, 8}) {
            TestTensor row = zeros({1, V}, DType::f32);
            std::memcpy(row.view.data, z.view.rows(b, 1).data, row.view.bytes());
            Drawn alone = run_sample(row, {uniform[b]}, options);
            EXPECT_EQ(alone.token[0], all.token[b]);
            EXPECT_EQ(alone.logp[0], all.logp[b]);
        }
        expect_same_for_threads([&] {
            Drawn drawn = run_sample(z, uniform, options);
            return indices(std::vector<int32_t>(drawn.token.begin(), drawn.token.end()));
        });
    }
}

TEST(sample, f32_draws_as_f64) {
    const int B = 50, V = 3000;
    TestTensor z = randn({B, V}, 1, DType::f32, 2);
    std::vector<double> uniform;
    for (int b = 0; b < B; ++b) uniform.push_back((float)((b + 0.5) / B));
    Drawn a = run_sample(z, uniform, {}), b = run_sample(to_f64(z), uniform, {});
    int equal = 0;
    for (int i = 0; i < B; ++i) equal += a.token[i] == b.token[i];
    EXPECT_GE(equal, B - 1); // a number can fall within rounding of a border
}

TEST(sample, nan_shows_in_logp) {
    for (const SampleOptions& options :
         {SampleOptions{}, {.temperature = 0}, {.top_k = 2}, {.top_p = 0.5}, {.min_p = 0.1}})
        for (DType dtype : {DType::f32, DType::f64}) {
            Drawn drawn = run_sample(values({2, 4}, {0, 1, NAN, 0, NAN, NAN, NAN, NAN}, dtype),
                                     {0.5, 0.5}, options);
            for (int b = 0; b < 2; ++b) {
                EXPECT_TRUE(std::isnan(drawn.logp[b]));
                EXPECT_TRUE(drawn.token[b] >= 0 && drawn.token[b] < 4);
            }
        }
}

TEST(sample, errors_name_op_and_tensor) {
    const Ops& ops = cpu_ops(DType::f64);
    TestTensor token(DType::i32, {2});
    expect_error(
        [&] {
            ops.sample(token, zeros({2}), {}, zeros({2, 4}), zeros({3}), {}, {}, {});
        },
        "sample: uniform ");
    expect_error(
        [&] {
            ops.sample(token, zeros({2}), {}, zeros({2, 4}), zeros({2}), indices({1}), {}, {});
        },
        "go together");
    expect_error(
        [&] {
            ops.sample(token, zeros({2}), {}, zeros({2, 4}), zeros({2}), {}, {},
                       {.temperature = -1});
        },
        "temperature");
}
