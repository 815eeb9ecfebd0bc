// The update from a recorded rollout against the update with a forward pass of its own.

#include "rollout/generate.h"
#include "testing.h"
#include "tiny_model.h"
#include "train/step.h"

namespace {

SampleConfig some_sampling() {
    SampleConfig sample;
    sample.max_new_tokens = 40, sample.n = 3, sample.seed = 11, sample.batch = 5;
    sample.temperature = 0.8;
    return sample;
}

// What trains: completion c's tokens t with keep(c, t).
std::vector<TrainSequence> kept_sequences(const std::vector<std::vector<int32_t>>& prompts,
                                          const std::vector<Completion>& completions,
                                          const std::function<bool(int, int)>& keep) {
    std::vector<TrainSequence> sequences;
    for (int c = 0; c < (int)completions.size(); ++c) {
        TrainSequence sequence;
        const std::vector<int32_t>& prompt = prompts[completions[c].prompt];
        sequence.ids = prompt;
        sequence.ids.insert(sequence.ids.end(), completions[c].ids.begin(),
                            completions[c].ids.end());
        for (int t = 0; t < (int)completions[c].ids.size(); ++t)
            if (keep(c, t)) sequence.target.push_back((int)prompt.size() + t);
        if (sequence.target.empty()) continue;
        sequence.prompt = completions[c].prompt, sequence.shared = (int)prompt.size() - 1;
        sequence.completion = c;
        sequences.push_back(sequence);
    }
    return sequences;
}

// Some loss with another weight for every token.
Objective some_objective(double temperature, bool entropy) {
    Objective objective;
    objective.wants.temperature = temperature, objective.wants.entropy = entropy;
    objective.loss = [entropy](std::span<const TokenOutputs> outputs, std::span<TokenGrads> grads) {
        double loss = 0;
        for (size_t s = 0; s < outputs.size(); ++s)
            for (size_t i = 0; i < outputs[s].logp.size(); ++i) {
                const double weight = std::sin(outputs[s].index + 0.7 * (double)i);
                loss += weight * std::exp(0.1 * outputs[s].logp[i]);
                grads[s].dlogp[i] = 0.1 * weight * std::exp(0.1 * outputs[s].logp[i]);
                if (!entropy) continue;
                loss += 0.3 * outputs[s].entropy[i];
                grads[s].dentropy[i] = 0.3;
            }
        return loss;
    };
    return objective;
}

// The largest difference of two gradients, relative to the largest element.
double gradient_error(const Trainer& a, const Trainer& b) {
    double worst = 0, scale = 0;
    const Tensor x = a.flat_grads, y = b.flat_grads;
    for (int64_t i = 0; i < x.size(); ++i) {
        const bool f64 = x.dtype == DType::f64;
        const double got = f64 ? x.as<double>()[i] : x.as<float>()[i],
                     want = f64 ? y.as<double>()[i] : y.as<float>()[i];
        if (!(std::abs(got - want) <= worst)) worst = std::abs(got - want);
        scale = std::max(scale, std::abs(want));
    }
    return worst / scale;
}

} // namespace

TEST(Recording, GivesLossAndGradientOfAForwardPassOfItsOwn) {
    const std::function<bool(int, int)> keeps[] = {
        [](int, int) { return true; },
        [](int c, int) { return c % 4 != 1; },            // some completions are dropped
        [](int c, int) { return c / 3 == 1 || c == 13; }, // whole prompts are
        [](int c, int t) { return (c + t) % 3 == 0; },    // some tokens
        [](int, int t) { return t == 0; },                // only what the prompt predicts
    };
    for (DType dtype : {DType::f64, DType::f32})
        for (const char* family : {"llama", "qwen2", "qwen3"})
            for (int in_flight : {5, 64})
                for (int k = 0; k < 5; ++k) {
                    ComputeConfig compute;
                    compute.dtype = dtype;
                    auto model = tiny_model(tiny_config(family), compute, true);
                    auto prompts = some_prompts(model->config.V);
                    SampleConfig sample = some_sampling();
                    sample.batch = in_flight;
                    Trainer trainer(*model, 100, 8), plain(*model, 100, 8);
                    Recording recording(trainer.pass, 4000);
                    auto completions =
                        generate(*model, prompts, sample, 0, nullptr, {}, &recording);
                    ASSERT_TRUE(recording.holds());

                    auto sequences = kept_sequences(prompts, completions, keeps[k]);
                    Objective objective = some_objective(sample.temperature, k % 2 == 1);
                    double gap = 0; // of the log-probabilities that the loss sees to those drawn
                    Objective checked = objective;
                    checked.loss = [&](std::span<const TokenOutputs> outputs,
                                       std::span<TokenGrads> grads) {
                        for (const TokenOutputs& out : outputs) {
                            const TrainSequence& s = sequences[out.index];
                            for (size_t i = 0; i < s.target.size(); ++i)
                                gap =
                                    std::max(gap, std::abs(out.logp[i] -
                                                           completions[s.completion]
                                                               .logp[s.target[i] - s.shared - 1]));
                        }
                        return objective.loss(outputs, grads);
                    };
                    StepStats got = accumulate_gradients(trainer, sequences, checked, &recording);
                    StepStats want = accumulate_gradients(plain, sequences, objective);
                    const double tolerance = dtype == DType::f64 ? 1e-12 : 2e-5;
                    EXPECT_EQ(gap, 0);
                    EXPECT_NEAR(got.loss, want.loss, tolerance * (1 + std::abs(want.loss)));
                    EXPECT_LE(gradient_error(trainer, plain), tolerance)
                        << family << " " << dtype_name(dtype) << ", kept " << k;
                    EXPECT_EQ(got.recorded, got.computed);
                    EXPECT_LE(got.computed, want.computed); // a prompt's end stands once
                    EXPECT_EQ(got.targets, want.targets);
                    EXPECT_EQ(got.micro_batches, 1);
                    EXPECT_FALSE(recording.holds()); // it is used up
                }
}

TEST(Recording, LogitsThatAreNotKeptAreComputedAgain) {
    ComputeConfig compute;
    compute.dtype = DType::f64;
    auto model = tiny_model(tiny_config(), compute, true);
    auto prompts = some_prompts(model->config.V);
    const SampleConfig sample = some_sampling();
    Trainer trainer(*model, 100, 8), plain(*model, 100, 8);
    Recording recording(trainer.pass, 4000);
    auto completions = generate(*model, prompts, sample, 0, nullptr, {}, &recording);
    ASSERT_TRUE(recording.holds());
    EXPECT_TRUE(recording.logits);
    recording.logits = false; // as with a vocabulary so large that they are more than one chunk
    auto sequences = kept_sequences(prompts, completions, [](int, int t) { return t != 3; });
    accumulate_gradients(trainer, sequences, some_objective(0.8, false), &recording);
    accumulate_gradients(plain, sequences, some_objective(0.8, false));
    EXPECT_LE(gradient_error(trainer, plain), 1e-12);
}

TEST(Recording, EndsWhereItsRowsDoNotFitOrThePassIsUsed) {
    ComputeConfig compute;
    compute.dtype = DType::f64;
    auto model = tiny_model(tiny_config(), compute, true);
    auto prompts = some_prompts(model->config.V);
    const SampleConfig sample = some_sampling();
    const auto want = generate(*model, prompts, sample);
    Trainer trainer(*model, 100, 8);
    for (int rows : {1, 70, 200, 500}) { // in a prompt, and in a round
        Recording recording(trainer.pass, rows);
        auto got = generate(*model, prompts, sample, 0, nullptr, {}, &recording);
        EXPECT_FALSE(recording.holds()) << rows;
        for (size_t c = 0; c < want.size(); ++c) EXPECT_EQ(got[c].logp, want[c].logp) << c;
    }
    Recording recording(trainer.pass, 4000);
    generate(*model, prompts, sample, 0, nullptr, {}, &recording);
    EXPECT_TRUE(recording.holds());
    auto sequences = kept_sequences(prompts, want, [](int, int) { return true; });
    evaluate_sequences(trainer.pass, sequences, 100, {});
    EXPECT_FALSE(recording.holds());

    compute.recompute = true;
    auto frugal = tiny_model(tiny_config(), compute, true);
    Trainer other(*frugal, 100, 8);
    Recording none(other.pass, 4000);
    generate(*frugal, prompts, sample, 0, nullptr, {}, &none);
    EXPECT_FALSE(none.holds());
}
