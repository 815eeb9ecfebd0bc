#include "testing.h"
#include "tiny_model.h"
#include "train/step.h"

namespace {

std::vector<TrainSequence> some_sequences(int V) {
    std::vector<TrainSequence> sequences;
    int seed = 1;
    for (int length : {5, 70, 2, 33, 9}) {
        TrainSequence sequence;
        sequence.ids = random_ids(length, V, seed++);
        for (int t = 1 + length / 3; t < length; ++t) sequence.target.push_back(t);
        sequences.push_back(sequence);
    }
    return sequences;
}

// Cross entropy, mean over all targets of the step.
Objective mean_nll(const std::vector<TrainSequence>& sequences, bool linear) {
    double total = 0;
    for (const TrainSequence& sequence : sequences) total += (double)sequence.target.size();
    Objective objective;
    objective.linear_in_logp = linear;
    objective.loss = [total](std::span<const TokenOutputs> outputs, std::span<TokenGrads> grads) {
        double loss = 0;
        for (size_t s = 0; s < outputs.size(); ++s)
            for (size_t i = 0; i < outputs[s].logp.size(); ++i) {
                loss -= outputs[s].logp[i] / total;
                grads[s].dlogp[i] = -1 / total;
            }
        return loss;
    };
    return objective;
}

std::vector<double> all_gradients(const Trainer& trainer) {
    std::vector<double> all;
    for (const Param& grad : trainer.grads.list)
        for (int64_t i = 0; i < grad.tensor.size(); ++i)
            all.push_back(grad.tensor.dtype == DType::f64 ? grad.tensor.as<double>()[i]
                                                          : grad.tensor.as<float>()[i]);
    return all;
}

struct Result {
    double loss;
    std::vector<double> grads;
};

Result gradients(const ModelConfig& config, ComputeConfig compute, int budget, bool linear) {
    auto model = tiny_model(config, compute);
    auto sequences = some_sequences(config.V);
    Trainer trainer(*model, budget, 8);
    StepStats stats = accumulate_gradients(trainer, sequences, mean_nll(sequences, linear));
    return {stats.loss, all_gradients(trainer)};
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
    EXPECT_EQ(a.size(), b.size());
    double worst = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        double difference = std::abs(a[i] - b[i]);
        if (!(difference <= worst)) worst = difference;
    }
    return worst;
}

} // namespace

TEST(Step, MicroBatchesHoldWholeBundlesWithinTheBudget) {
    std::vector<TrainSequence> sequences(5);
    for (int s = 0; s < 5; ++s) {
        sequences[s].ids.resize(10);
        sequences[s].target = {9}; // 10 tokens, the last counted for models read at their own token
    }
    sequences[1].bundle = sequences[2].bundle = 4;
    using Cuts = std::vector<std::pair<int, int>>;
    EXPECT_EQ(cut_micro_batches(sequences, 20), (Cuts{{0, 1}, {1, 3}, {3, 5}}));
    EXPECT_EQ(cut_micro_batches(sequences, 30), (Cuts{{0, 3}, {3, 5}}));
    EXPECT_EQ(cut_micro_batches(sequences, 5), (Cuts{{0, 1}, {1, 3}, {3, 4}, {4, 5}}));
    EXPECT_EQ(cut_micro_batches(sequences, 1000), (Cuts{{0, 5}}));
}

TEST(Step, TheCutIntoMicroBatchesDoesNotChangeLossOrGradients) {
    for (const char* family : {"llama", "qwen2", "qwen3"}) {
        ComputeConfig compute;
        compute.dtype = DType::f64;
        Result whole = gradients(tiny_config(family), compute, 1000, false);
        for (int budget : {75, 40, 1}) {
            Result cut = gradients(tiny_config(family), compute, budget, false);
            EXPECT_TRUE(close(cut.loss, whole.loss, 1e-14));
            EXPECT_LT(largest_difference(cut.grads, whole.grads), 1e-14); // sums in another order
        }
    }
}

// Three completions of one prompt, and two of another of one token.
TEST(Step, ASharedPromptChangesNothingButTheWork) {
    for (const char* family : {"llama", "qwen3"}) {
        ModelConfig config = tiny_config(family);
        ComputeConfig compute;
        compute.dtype = DType::f64;
        auto model = tiny_model(config, compute);
        std::vector<TrainSequence> plain;
        int seed = 1;
        for (int prompt : {67, 67, 67, 1, 1}) {
            TrainSequence sequence;
            sequence.ids = random_ids(prompt, config.V, 100 + prompt);
            for (int32_t id : random_ids(3 + 5 * seed, config.V, seed)) sequence.ids.push_back(id);
            for (int t = prompt; t < (int)sequence.ids.size(); ++t) sequence.target.push_back(t);
            ++seed;
            plain.push_back(sequence);
        }
        std::vector<TrainSequence> shared = plain;
        for (TrainSequence& sequence :
             shared) // the last prompt token predicts: it is each one's own
            sequence.shared = sequence.target[0] - 1, sequence.prompt = sequence.target[0];
        auto run = [&](const std::vector<TrainSequence>& sequences, int budget, StepStats& stats) {
            Trainer trainer(*model, budget, 8);
            stats = accumulate_gradients(trainer, sequences, mean_nll(sequences, false));
            return all_gradients(trainer);
        };
        StepStats a, b, c;
        auto want = run(plain, 1000, a), got = run(shared, 1000, b), cut = run(shared, 120, c);
        EXPECT_EQ(a.loss, b.loss); // forward: the same bits
        EXPECT_LT(largest_difference(want, got), 1e-14);
        EXPECT_LT(largest_difference(want, cut), 1e-14);
        EXPECT_EQ(b.computed, a.computed - 2 * 66);
        EXPECT_GT(c.micro_batches, 1);
    }
}

TEST(Step, TheShortWayForLinearLossesGivesTheSameBits) {
    Result two = gradients(tiny_config(), {}, 60, false),
           one = gradients(tiny_config(), {}, 60, true);
    EXPECT_EQ(two.loss, one.loss);
    EXPECT_EQ(two.grads, one.grads);
}

TEST(Step, RecomputationGivesTheSameBits) {
    for (const char* family : {"llama", "qwen3"}) {
        ComputeConfig recompute;
        recompute.recompute = true;
        Result kept = gradients(tiny_config(family), {}, 60, false);
        Result again = gradients(tiny_config(family), recompute, 60, false);
        EXPECT_EQ(kept.loss, again.loss);
        EXPECT_EQ(kept.grads, again.grads);
    }
}

// The layers' gradients are not zeroed: a step's first micro-batch writes them; a step without any leaves 0.
TEST(Step, NothingOfTheStepBeforeIsLeft) {
    auto model = tiny_model(tiny_config(), {.dtype = DType::f64});
    auto sequences = some_sequences(model->config.V);
    Trainer trainer(*model, 64, 8);
    accumulate_gradients(trainer, sequences, mean_nll(sequences, false));
    const std::vector<double> once = all_gradients(trainer);
    accumulate_gradients(trainer, sequences, mean_nll(sequences, false));
    EXPECT_EQ(all_gradients(trainer), once);
    const StepStats stats = accumulate_gradients(trainer, {}, mean_nll(sequences, false));
    EXPECT_EQ(stats.grad_norm, 0);
}

TEST(Step, WhatStandsAfterTheLastTargetIsNotRead) {
    ModelConfig config = tiny_config();
    ComputeConfig compute;
    compute.dtype = DType::f64;
    auto model = tiny_model(config, compute);
    auto sequences = some_sequences(config.V);
    auto run = [&] {
        Trainer trainer(*model, 1000, 8);
        accumulate_gradients(trainer, sequences, mean_nll(sequences, true));
        return all_gradients(trainer);
    };
    auto before = run();
    for (TrainSequence& sequence : sequences) {
        sequence.ids.push_back(5);
        sequence.ids.push_back(6);
    }
    EXPECT_EQ(before, run());
}

TEST(Step, ClippingAndDecayFollowTheFormula) {
    ModelConfig config = tiny_config("qwen2");
    ComputeConfig compute;
    compute.dtype = DType::f64;
    auto model = tiny_model(config, compute);
    auto sequences = some_sequences(config.V);
    Trainer trainer(*model, 1000, 8);
    StepStats stats = accumulate_gradients(trainer, sequences, mean_nll(sequences, true));
    std::vector<double> grads = all_gradients(trainer);
    double sum = 0;
    for (double g : grads) sum += g * g;
    EXPECT_TRUE(close(stats.grad_norm, std::sqrt(sum), 1e-12));

    std::vector<double> before;
    for (const Param& param : model->params.list)
        for (int64_t i = 0; i < param.tensor.size(); ++i)
            before.push_back(param.tensor.as<double>()[i]);
    OptimConfig optim;
    optim.grad_clip = stats.grad_norm / 2, optim.weight_decay = 0.1;
    apply_update(trainer, optim, 0.01, stats);
    size_t at = 0;
    double scale = optim.grad_clip / (stats.grad_norm + 1e-6);
    for (const Param& param : model->params.list) {
        double decay = param.tensor.rank > 1 ? 0.1 : 0;
        for (int64_t i = 0; i < param.tensor.size();
             ++i, ++at) { // first step: mhat = g, vhat = g^2
            double g = grads[at] * scale;
            double want = before[at] - 0.01 * (g / (std::abs(g) + 1e-8) + decay * before[at]);
            ASSERT_TRUE(close(param.tensor.as<double>()[i], want, 1e-12)) << param.name;
        }
    }
}

TEST(Step, AWeightThatIsNotFiniteIsNoticed) {
    ModelConfig config = tiny_config();
    auto model = tiny_model(config);
    auto sequences = some_sequences(config.V);
    Trainer trainer(*model, 1000, 8);
    model->params.layer[1].down.w.as<float>()[3] = NAN;
    try {
        accumulate_gradients(trainer, sequences, mean_nll(sequences, false));
        FAIL() << "a NaN weight went unnoticed";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("not finite"), std::string::npos) << error.what();
    }
}
