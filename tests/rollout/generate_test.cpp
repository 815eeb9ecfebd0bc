#include "rollout/generate.h"
#include "testing.h"
#include "tiny_model.h"
#include "train/step.h"

#include <omp.h>

namespace {

SampleConfig some_sampling() {
    SampleConfig sample;
    sample.max_new_tokens = 70, sample.n = 3, sample.seed = 11, sample.batch = 5;
    return sample;
}

// The trainer's log-probabilities and entropies of a completion.
SequenceOutputs trainers(Pass& pass, const std::vector<int32_t>& prompt,
                         const Completion& completion) {
    TrainSequence sequence;
    sequence.ids = prompt;
    sequence.ids.insert(sequence.ids.end(), completion.ids.begin(), completion.ids.end());
    for (size_t t = prompt.size(); t < sequence.ids.size(); ++t) sequence.target.push_back((int)t);
    return evaluate_sequences(pass, {sequence}, 1000, {.entropy = true})[0];
}

} // namespace

// What the sampler records is what the trainer computes.
TEST(Generate, SampledLogProbabilitiesAreTheTrainers) {
    for (DType dtype : {DType::f64, DType::f32})
        for (const char* family : {"llama", "qwen2", "qwen3"}) {
            ComputeConfig compute;
            compute.dtype = dtype;
            auto model = tiny_model(tiny_config(family), compute, true);
            auto prompts = some_prompts(model->config.V);
            SampleConfig sample = some_sampling();
            sample.entropy = true;
            auto completions = generate(*model, prompts, sample);
            sample.batch = 64; // threads go through the layers apart
            for (Completion& completion : generate(*model, prompts, sample))
                completions.push_back(completion);
            Pass pass(*model, 1000, 8, false);
            bool exact = dtype == DType::f64 || cpu_gemm_is_batch_invariant(DType::f32);
            double gap = 0;
            for (const Completion& completion : completions) {
                SequenceOutputs want = trainers(pass, prompts[completion.prompt], completion);
                ASSERT_EQ(want.logp.size(), completion.logp.size());
                for (size_t t = 0; t < want.logp.size(); ++t)
                    gap = std::max({gap, std::abs(want.logp[t] - completion.logp[t]),
                                    std::abs(want.entropy[t] - completion.entropy[t])});
            }
            EXPECT_LE(gap, exact ? 0 : 1e-4) << family << " " << dtype_name(dtype);
            if (!exact) std::printf("gap between sampled and trainer's logp: %g nats\n", gap);
        }
}

// With a seed of its own a prompt's samples do not depend on its place among the prompts.
TEST(Generate, APromptsOwnSeedGoesWithIt) {
    auto model = tiny_model(tiny_config());
    const auto prompts = some_prompts(model->config.V);
    SampleConfig sample = some_sampling();
    sample.max_new_tokens = 8;
    sample.seeds = {5, 6, 7, 8, 9, 10};
    const auto all = generate(*model, prompts, sample);
    sample.seeds = {8, 6};
    const auto two = generate(*model, {prompts[3], prompts[1]}, sample);
    for (int s = 0; s < sample.n; ++s) {
        EXPECT_EQ(two[s].ids, all[3 * sample.n + s].ids);
        EXPECT_EQ(two[sample.n + s].ids, all[sample.n + s].ids);
    }
    sample.seeds = {8, 7};
    EXPECT_NE(generate(*model, {prompts[3], prompts[1]}, sample)[sample.n].ids, two[sample.n].ids);
}

TEST(Generate, ASampleDoesNotDependOnTheBatch) {
    ComputeConfig compute;
    compute.dtype = DType::f64;
    auto model = tiny_model(tiny_config(), compute, true);
    auto prompts = some_prompts(model->config.V);
    SampleConfig sample = some_sampling();
    sample.n = 5;
    auto together = generate(*model, prompts, sample);
    ASSERT_EQ(together.size(), prompts.size() * sample.n);
    // With 8 rows for each of several threads they go through the layers apart.
    const int threads_before = omp_get_max_threads();
    for (auto [batch, threads] : {std::pair{1, 2}, {64, 1}, {64, 2}, {64, 3}}) {
        sample.batch = batch;
        omp_set_num_threads(threads);
        auto other = generate(*model, prompts, sample);
        for (size_t i = 0; i < together.size(); ++i) {
            EXPECT_EQ(together[i].prompt, (int)i / 5);
            EXPECT_EQ(together[i].sample, (int)i % 5);
            EXPECT_EQ(together[i].ids, other[i].ids) << i << ", batch " << batch;
            EXPECT_EQ(together[i].logp, other[i].logp) << i << ", batch " << batch;
        }
    }
    omp_set_num_threads(threads_before);
}

TEST(Generate, StopsAtEosOrTheLimitsAndSaysWhich) {
    ModelConfig config = tiny_config();
    config.max_positions = 66; // the longest prompt leaves room for one token
    auto model = tiny_model(config, {}, true);
    auto prompts = some_prompts(config.V);
    SampleConfig sample = some_sampling();
    sample.max_new_tokens = 40;
    int finished = 0, full = 0;
    for (const Completion& completion : generate(*model, prompts, sample)) {
        int length = (int)completion.ids.size();
        bool eos = completion.ids.back() == 1;
        EXPECT_EQ(completion.finished, eos);
        for (int t = 0; t + 1 < length; ++t) EXPECT_NE(completion.ids[t], 1);
        int room = std::min(40, 66 - (int)prompts[completion.prompt].size());
        EXPECT_TRUE(eos || length == room);
        finished += eos, full += !eos;
    }
    EXPECT_GT(finished, 0); // both ways to end occurred
    EXPECT_GT(full, 0);
}

TEST(Generate, EosIsBarredBeforeMinNewTokens) {
    auto model = tiny_model(tiny_config(), {}, true);
    SampleConfig sample = some_sampling();
    sample.min_new_tokens = 10, sample.n = 20;
    for (const Completion& completion : generate(*model, {{3}, {4, 5}}, sample)) {
        EXPECT_GE(completion.ids.size(), 10u);
    }
}

TEST(Generate, GreedyIsTheArgmaxOfTheFullForward) {
    ComputeConfig compute;
    compute.dtype = DType::f64;
    auto model = tiny_model(tiny_config(), compute, true);
    SampleConfig sample;
    sample.temperature = 0, sample.max_new_tokens = 8;
    std::vector<int32_t> prompt = {3, 9, 2};
    Completion greedy = generate(*model, {prompt}, sample)[0];
    Pass pass(*model, 1000, 64, false);
    for (int32_t drawn : greedy.ids) {
        std::vector<TrainSequence> candidates;
        for (int v = 0; v < model->config.V; ++v) {
            TrainSequence sequence;
            sequence.ids = prompt;
            sequence.ids.push_back(v);
            sequence.target = {(int)prompt.size()};
            candidates.push_back(sequence);
        }
        auto outputs = evaluate_sequences(pass, candidates, 1000, {});
        for (int v = 0; v < model->config.V; ++v)
            EXPECT_LE(outputs[v].logp[0], outputs[drawn].logp[0]);
        prompt.push_back(drawn);
    }
}

TEST(Generate, BadPromptsAreNamed) {
    auto model = tiny_model(tiny_config(), {}, true);
    EXPECT_THROW(generate(*model, {{1, 2}, {}}, {}), Error);
    EXPECT_THROW(generate(*model, {std::vector<int32_t>(256, 3)}, {}), Error);
    EXPECT_THROW(generate(*model, {{1, 37}}, {}), Error); // outside the vocabulary
}

// Threads that go through the layers apart: an error of one reaches the caller.
TEST(Generate, AnErrorInAThreadsShareIsThrown) {
    auto model = tiny_model(tiny_config(), {}, true);
    Ops broken = *model->ops;
    broken.decode_attention = [](Tensor, Tensor, Tensor, const KvCache&, Tensor, Tensor, int, int,
                                 double) { fail("broken on purpose"); };
    model->ops = &broken;
    SampleConfig sample = some_sampling();
    sample.batch = 64, sample.min_new_tokens = sample.max_new_tokens = 2; // one step, all rows
    std::string message;
    try {
        generate(*model, some_prompts(model->config.V), sample);
    } catch (const Error& error) {
        message = error.what();
    }
    EXPECT_EQ(message, "broken on purpose");
}
