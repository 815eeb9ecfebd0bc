#include "gpu_testing.h"

// Log-probabilities and draws: what stands between the LM head and the loss, and between it and a token.

namespace {

struct Scores {
    TestTensor logp, entropy, lse;
    explicit Scores(int R) : logp(zeros({R})), entropy(zeros({R})), lse(zeros({R})) {}
};

TestTensor targets(int R, int V) {
    std::vector<int32_t> list;
    for (int r = 0; r < R; ++r) list.push_back(r == 0 ? V - 1 : r * 7919 % V);
    return indices(list);
}

// Sums of V terms in f32: 1e-6 of the sum is 1e-6 of its log. lse and logp reach 30: 2e-6 more.
TEST(GpuTokenLogprob, Forward) {
    for (DType dtype : gpu_types)
        for (int V : {3, 37, 4104, 10007})
            for (double temperature : {1.0, 0.7}) {
                const int R = 3;
                TestTensor z = random_in(dtype, {R, V}, 1, 4), target = targets(R, V);
                z.set(1, -INFINITY);
                Scores want(R);
                cpu_ops(DType::f64)
                    .token_logprob_forward(want.logp, want.entropy, want.lse, z, target,
                                           temperature);
                GpuTensor logp(DType::f32, poison({R})), entropy(DType::f32, poison({R})),
                    lse(DType::f32, poison({R})), alone(DType::f32, poison({R}));
                GpuTensor z_g(dtype, z), target_g(dtype, target);
                gpu_ops(dtype).token_logprob_forward(logp, entropy, lse, z_g, target_g,
                                                     temperature);
                expect_near(logp, want.logp, 1e-7, 3e-6, sizes(dtype, R, V) + "logp");
                expect_near(lse, want.lse, 1e-7, 3e-6, sizes(dtype, R, V) + "lse");
                expect_near(entropy, want.entropy, 1e-6, 1e-5, sizes(dtype, R, V) + "entropy");
                gpu_ops(dtype).token_logprob_forward(alone, {}, lse, z_g, target_g, temperature);
                EXPECT_TRUE(same_values(alone, logp));
            }
}

TEST(GpuTokenLogprob, Backward) {
    for (DType dtype : gpu_types)
        for (int V : {5, 64, 4100})
            for (bool with_entropy : {false, true}) {
                const int R = 4;
                const double temperature = 0.8;
                TestTensor z = random_in(dtype, {R, V}, 1, 3), target = targets(R, V);
                z.set(V + 1, -INFINITY);
                TestTensor dlogp = random_in(DType::f32, {R}, 2),
                           dentropy = random_in(DType::f32, {R}, 3);
                dentropy.set(2, 0);
                Scores at(R);
                const Ops& cpu = cpu_ops(DType::f64);
                cpu.token_logprob_forward(at.logp, at.entropy, at.lse, z, target, temperature);
                GpuTensor dz(dtype, z), entropy(DType::f32, at.entropy), lse(DType::f32, at.lse),
                    dlogp_g(DType::f32, dlogp), dentropy_g(DType::f32, dentropy);
                cpu.token_logprob_backward(z, dlogp, with_entropy ? dentropy.view : Tensor(),
                                           with_entropy ? at.entropy.view : Tensor(), at.lse,
                                           target, temperature);
                gpu_ops(dtype).token_logprob_backward(dz, dlogp_g,
                                                      with_entropy ? dentropy_g.view : Tensor(),
                                                      with_entropy ? entropy.view : Tensor(), lse,
                                                      GpuTensor(dtype, target), temperature);
                // lse in f32 is off by 1e-6, so p is off by 1e-6 of itself
                expect_near(dz, z, half_ulp(dtype) + 3e-6, 2e-6, sizes(dtype, R, V) + "dz");
            }
}

TEST(GpuTokenLogprob, NanShows) {
    for (DType dtype : gpu_types) {
        TestTensor z = values({2, 3}, {0, -INFINITY, 0, 0, NAN, 0});
        GpuTensor logp(DType::f32, zeros({2})), entropy(DType::f32, zeros({2})),
            lse(DType::f32, zeros({2}));
        gpu_ops(dtype).token_logprob_forward(logp, entropy, lse, GpuTensor(dtype, z),
                                             GpuTensor(dtype, indices({0, 0})), 1);
        EXPECT_NEAR(logp.get().get(0), -std::log(2.0), 1e-6);
        EXPECT_TRUE(std::isnan(logp.get().get(1)) && std::isnan(entropy.get().get(1)));
    }
}

// Rows with many equal logits, so that cuts fall into ties.
TestTensor logits_for_cuts(DType dtype, int B, int V) {
    TestTensor z = random_in(dtype, {B, V}, 5, 3);
    for (int64_t i = 0; i < z.size(); i += 3) z.set(i, std::round(z.get(i)));
    for (int64_t i = 0; i < z.size(); i += 17) z.set(i, i % 2 ? 0.0 : -0.0);
    return z;
}

struct Draw {
    TestTensor token, logp, entropy;
};

Draw draw_on_cpu(const TestTensor& z, const TestTensor& uniform, const TestTensor& barred,
                 const TestTensor& bar, const SampleOptions& options) {
    const int64_t B = z.view.shape[0];
    Draw d{indices(std::vector<int32_t>(B)), zeros({B}), zeros({B})};
    cpu_ops(DType::f64).sample(d.token, d.logp, d.entropy, clone(z), uniform, barred, bar, options);
    return d;
}

const SampleOptions all_options[] = {
    {0, 0, 1, 0},    {1, 0, 1, 0},      {0.6, 0, 1, 0},   {1, 1, 1, 0},        {1, 7, 1, 0},
    {1.3, 40, 1, 0}, {1, 0, 0.9, 0},    {1, 0, 0.01, 0},  {0.8, 0, 0.9999, 0}, {1, 0, 1, 0.05},
    {1, 50, 0.7, 0}, {1, 3, 0.99, 0.2}, {2, 0, 0.5, 0.1}, {1, 1000000, 1, 0},
};

// The token of the CPU op in f64. The uniform number is in the middle of what the token owns up to f32
// rounding: where the CPU gives the same token a little below and above.
TEST(GpuSample, DrawsTheTokensOfTheCpu) {
    for (DType dtype : gpu_types)
        for (int V : {2, 37, 328, 4103})
            for (const SampleOptions& options : all_options) {
                const int B = 7;
                TestTensor z = logits_for_cuts(dtype, B, V), uniform = zeros({B});
                Rng rng(6);
                for (int b = 0; b < B; ++b)
                    uniform.set(b, round_to(DType::f32, 0.001 + 0.998 * rng.uniform()));
                TestTensor barred = V == 2 ? indices({1}) : indices({V - 1, V / 2}),
                           bar = indices({0, 1, 0, 0, 1, 0, 0});
                const Draw want = draw_on_cpu(z, uniform, barred, bar, options);
                TestTensor below = clone(uniform), above = clone(uniform);
                for (int b = 0; b < B; ++b) {
                    below.set(b, uniform.get(b) - 1e-5);
                    above.set(b, uniform.get(b) + 1e-5);
                }
                const Draw low = draw_on_cpu(z, below, barred, bar, options);
                const Draw high = draw_on_cpu(z, above, barred, bar, options);

                GpuTensor token(dtype, indices(std::vector<int32_t>(B, -1)));
                GpuTensor logp(DType::f32, poison({B})), entropy(DType::f32, poison({B}));
                gpu_ops(dtype).sample(token, logp, entropy, GpuTensor(dtype, z),
                                      GpuTensor(DType::f32, uniform), GpuTensor(dtype, barred),
                                      GpuTensor(dtype, bar), options);
                const TestTensor got = token.get(), got_logp = logp.get();
                int compared = 0;
                for (int b = 0; b < B; ++b) {
                    const int32_t id = want.token.view.as<int32_t>()[b];
                    if (low.token.view.as<int32_t>()[b] != id ||
                        high.token.view.as<int32_t>()[b] != id)
                        continue;
                    ++compared;
                    EXPECT_EQ(got.view.as<int32_t>()[b], id)
                        << sizes(dtype, b, V) << "T " << options.temperature << " top-k "
                        << options.top_k << " top-p " << options.top_p << " min-p "
                        << options.min_p;
                    EXPECT_NEAR(got_logp.get(b), want.logp.get(b), 5e-6);
                }
                EXPECT_GE(compared, B - 2);
                expect_near(entropy, want.entropy, 1e-6, 1e-5, sizes(dtype, B, V) + "entropy");
            }
}

// A barred token far above all others: the weights of these must not vanish beside its own.
TEST(GpuSample, DrawsAmongTheOthersWhereTheLikeliestIsBarred) {
    for (auto [dtype, V] : {std::pair{DType::f32, 300},
                            {DType::f32, 1200},
                            {DType::bf16, 300},
                            {DType::bf16, 9000}}) {
        const int B = 4;
        TestTensor z = random_in(dtype, {B, V}, 5), uniform = values({B}, {.1, .4, .6, .9});
        for (int b = 0; b < B; ++b) z.set(b * V + 7, 200);
        TestTensor barred = indices({7}), bar = indices({1, 1, 0, 1});
        const Draw want = draw_on_cpu(z, uniform, barred, bar, {1, 0, 1, 0});
        GpuTensor token(dtype, indices({-1, -1, -1, -1})), logp(DType::f32, poison({B}));
        gpu_ops(dtype).sample(token, logp, {}, GpuTensor(dtype, z), GpuTensor(DType::f32, uniform),
                              GpuTensor(dtype, barred), GpuTensor(dtype, bar), {1, 0, 1, 0});
        const TestTensor got = token.get();
        for (int b = 0; b < B; ++b)
            EXPECT_EQ(got.view.as<int32_t>()[b], want.token.view.as<int32_t>()[b]) << b;
    }
}

// logp and entropy of the hinge, bit for bit: what was sampled is what is trained on. Few rows that are not
// cut are shared by blocks, others have one each.
TEST(GpuSample, HasTheBitsOfTokenLogprob) {
    for (DType dtype : gpu_types)
        for (int V : {4100, 20000})
            for (double top_p : {0.8, 1.0}) {
                const int B = 5;
                const Ops& ops = gpu_ops(dtype);
                TestTensor z = random_in(dtype, {B, V}, 1, 3),
                           uniform = values({B}, {.1, .3, .5, .7, .9});
                GpuTensor token(dtype, indices({-1, -1, -1, -1, -1}));
                GpuTensor logp(DType::f32, poison({B})), entropy(DType::f32, poison({B})),
                    logp2(DType::f32, poison({B})), entropy2(DType::f32, poison({B})),
                    lse(DType::f32, poison({B}));
                ops.sample(token, logp, entropy, GpuTensor(dtype, z),
                           GpuTensor(DType::f32, uniform), {}, {}, {0.9, 0, top_p, 0});
                ops.token_logprob_forward(logp2, entropy2, lse, GpuTensor(dtype, z), token, 0.9);
                EXPECT_TRUE(same_values(logp, logp2)) << V << " " << top_p;
                EXPECT_TRUE(same_values(entropy, entropy2)) << V << " " << top_p;
            }
}

// The token of a row does not depend on how many there are.
TEST(GpuSample, ARowIsDrawnAlikeAmongFewAndAmongMany) {
    const int many = 40, few = 3, V = 9000;
    for (DType dtype : gpu_types) {
        TestTensor z = random_in(dtype, {many, V}, 1, 3), uniform = zeros({many});
        std::vector<int32_t> barred = {5, V - 1}, bar(many, 0);
        Rng rng(3);
        for (int b = 0; b < many; ++b) uniform.set(b, rng.uniform());
        z.set(V + 5, 30), bar[1] = 1;
        std::vector<std::vector<int32_t>> tokens;
        for (int B : {many, few}) {
            GpuTensor z_g(dtype, z), u(DType::f32, uniform), bar_g(dtype, indices(bar));
            GpuTensor token(dtype, indices(std::vector<int32_t>(B, -1)));
            GpuTensor logp(DType::f32, poison({B}));
            gpu_ops(dtype).sample(token, logp, {}, z_g.view.rows(0, B), u.view.rows(0, B),
                                  GpuTensor(dtype, indices(barred)), bar_g.view.rows(0, B),
                                  {0.7, 0, 1, 0});
            const TestTensor ids = token.get();
            tokens.push_back({ids.view.as<int32_t>(), ids.view.as<int32_t>() + few});
        }
        EXPECT_EQ(tokens[0], tokens[1]);
    }
}

// 4096 draws from 5 tokens after top-k 4, against the distribution: within 4 standard deviations.
TEST(GpuSample, FrequenciesFollowTheDistribution) {
    const int B = 512, V = 5;
    const double logits[V] = {0, 1, 2, -1, 0.5};
    TestTensor z = zeros({B, V}), uniform = zeros({B});
    for (int64_t i = 0; i < z.size(); ++i) z.set(i, logits[i % V]);
    int count[V] = {}, draws = 0;
    Rng rng(3);
    for (int round = 0; round < 8; ++round) {
        for (int b = 0; b < B; ++b) uniform.set(b, rng.uniform());
        GpuTensor token(DType::f32, indices(std::vector<int32_t>(B)));
        GpuTensor logp(DType::f32, zeros({B}));
        gpu_ops(DType::f32)
            .sample(token, logp, {}, GpuTensor(DType::f32, z), GpuTensor(DType::f32, uniform), {},
                    {}, {1, 4, 1, 0});
        const TestTensor ids = token.get();
        for (int b = 0; b < B; ++b, ++draws) ++count[ids.view.as<int32_t>()[b]];
    }
    double total = 0;
    for (int v = 0; v < V; ++v) total += v == 3 ? 0 : std::exp(logits[v]);
    EXPECT_EQ(count[3], 0);
    for (int v = 0; v < V; ++v) {
        const double p = v == 3 ? 0 : std::exp(logits[v]) / total;
        EXPECT_NEAR(count[v], draws * p, 4 * std::sqrt(draws * p * (1 - p)) + 1e-9);
    }
}

} // namespace
