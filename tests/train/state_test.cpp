#include "base/file.h"
#include "tiny_model.h"
#include "train/run.h"
#include "train/sft_loss.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace {

struct TrainerState : testing::TestWithParam<DType> {
    std::string path = testing::TempDir() + "state" + std::to_string(::getpid());
    void TearDown() override { remove_tree(path); }
    ComputeConfig compute() const {
        ComputeConfig config;
        config.dtype = GetParam();
        return config;
    }
};

void train(Trainer& trainer, int first, int last) {
    for (int step = first; step <= last; ++step) {
        TrainSequence row{random_ids(9, trainer.model.config.V, (uint64_t)step), {1, 2, 5, 8}};
        StepStats stats = accumulate_gradients(trainer, {row}, sft_loss({row}));
        apply_update(trainer, {}, 1e-2, stats);
    }
}

std::string bytes(Tensor x) { return std::string((const char*)x.data, x.bytes()); }
std::string bytes(const Params& params) {
    std::string all;
    for (const Param& param : params.list) all += bytes(param.tensor);
    return all;
}

} // namespace

TEST_P(TrainerState, ComesBackBitForBitAndGoesOnAlike) {
    auto whole = tiny_model(tiny_config("qwen3"), compute());
    Trainer straight(*whole, 64, 8);
    train(straight, 1, 3);
    save_trainer(straight, true, path);
    train(straight, 4, 5);

    auto other = tiny_model(tiny_config("qwen3"), compute(), false, 8); // other weights
    Trainer resumed(*other, 64, 8);
    load_trainer(resumed, true, path);
    EXPECT_EQ(resumed.t, 3);
    train(resumed, 4, 5);
    EXPECT_EQ(bytes(whole->params), bytes(other->params));
    EXPECT_EQ(bytes(straight.m), bytes(resumed.m));
    EXPECT_EQ(bytes(straight.v), bytes(resumed.v));
}

TEST_P(TrainerState, OfAnotherModelIsRefused) {
    auto model = tiny_model(tiny_config("qwen3"), compute());
    Trainer trainer(*model, 64, 8);
    save_trainer(trainer, false, path);
    ModelConfig wider = tiny_config("qwen3");
    wider.F += 1;
    for (const ModelConfig& config : {wider, tiny_config("llama")}) {
        auto other = tiny_model(config, compute());
        Trainer another(*other, 64, 8);
        EXPECT_THROW(load_trainer(another, false, path), Error);
    }
    EXPECT_THROW(load_trainer(trainer, true, path), Error); // the file holds no weights
    write_file(path, read_file(path).substr(0, 1000));
    EXPECT_THROW(load_trainer(trainer, false, path), Error); // cut off
}

INSTANTIATE_TEST_SUITE_P(Precisions, TrainerState, testing::Values(DType::f32, DType::f64),
                         [](const auto& which) { return dtype_name(which.param); });
