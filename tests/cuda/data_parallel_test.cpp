// Ranks as threads, each with a device of its own: 1, 2, 3 and 4 of them train the same model on the same
// steps. A rank's share of the rows is its own, the weight of a row is fixed for the step, so losses, norms
// and weights differ by the order of sums alone.

#include "base/file.h"
#include "gpu_testing.h"
#include "ops/collectives.h"
#include "ops/gpu.h"
#include "tiny_model.h"
#include "train/run.h"
#include "train/sft_loss.h"

#include <mutex>
#include <thread>

namespace {

std::vector<TrainSequence> rows_of_step(int V, int step) {
    std::vector<TrainSequence> rows;
    for (int length : {5, 40, 2, 33, 9, 17, 64}) {
        TrainSequence row{random_ids(length, V, 100 * step + length), {}};
        for (int t = 1 + length / 3; t < length; ++t) row.target.push_back(t);
        rows.push_back(row);
    }
    return rows;
}

struct Result {
    std::vector<double> losses, norms;
    std::vector<float> weights; // all parameters in full precision
    int64_t tokens = 0, part = 0;
};

std::vector<float> all_weights(const Trainer& trainer) {
    std::vector<float> all;
    for (const Param& param : full_weights(trainer).list) {
        std::vector<float> values(param.tensor.size());
        download_values(*trainer.model.ops, values.data(), param.tensor, 0, param.tensor.size());
        all.insert(all.end(), values.begin(), values.end());
    }
    return all;
}

// Steps first .. last on every rank; starts from the state `load` and leaves the state `save`, if named.
Result train(int ranks, DType dtype, int first, int last, const std::string& load = "",
             const std::string& save = "") {
    std::vector<Result> results(ranks);
    std::string error;
    std::mutex lock;
    const CollectivesId id = make_collectives_id();
    auto body = [&](int rank) {
        try {
            gpu_select(rank);
            Collectives collectives = join_collectives(id, rank, ranks);
            {
                ComputeConfig compute;
                compute.dtype = dtype, compute.gpu = true, compute.ranks = &collectives;
                auto model = tiny_model(tiny_config("qwen2"), compute);
                Trainer trainer(*model, 48, 8);
                if (!load.empty()) load_trainer(trainer, true, load);
                Result& result = results[rank];
                result.part = trainer.part().count;
                for (int step = first; step <= last; ++step) {
                    const auto rows = rows_of_step(model->config.V, step);
                    StepStats stats = accumulate_gradients(trainer, rows, sft_loss(rows));
                    OptimConfig optim;
                    optim.weight_decay = 0.1;
                    apply_update(trainer, optim, 1e-2, stats);
                    result.losses.push_back(stats.loss), result.norms.push_back(stats.grad_norm);
                    result.tokens += stats.tokens;
                }
                result.weights = all_weights(trainer);
                if (!save.empty()) save_trainer(trainer, true, save);
            }
            collectives.close(collectives);
        } catch (const Error& failed) {
            std::lock_guard<std::mutex> guard(lock);
            error += failed.what();
        }
    };
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks; ++rank) threads.emplace_back(body, rank);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(error, "");
    for (const Result& result : results) { // all ranks know the same
        EXPECT_EQ(result.losses, results[0].losses);
        EXPECT_EQ(result.norms, results[0].norms);
        EXPECT_TRUE(result.weights == results[0].weights);
    }
    return results[0];
}

// tolerance: f32 sums in another order, grown by AdamW's division where a gradient is near 0.
void expect_same(const Result& found, const Result& want, double tolerance) {
    ASSERT_EQ(found.losses.size(), want.losses.size());
    for (size_t i = 0; i < want.losses.size(); ++i) {
        EXPECT_NEAR(found.losses[i], want.losses[i], tolerance) << i;
        EXPECT_NEAR(found.norms[i], want.norms[i], tolerance * want.norms[i]) << i;
    }
    EXPECT_EQ(found.tokens, want.tokens);
    ASSERT_EQ(found.weights.size(), want.weights.size());
    double difference = 0, size = 0;
    for (size_t i = 0; i < want.weights.size(); ++i) {
        const double d = (double)found.weights[i] - want.weights[i];
        difference += d * d, size += (double)want.weights[i] * want.weights[i];
    }
    EXPECT_LE(std::sqrt(difference / size), tolerance);
}

} // namespace

TEST(DataParallelSlow, AnyNumberOfRanksGivesTheSameLossAndWeights) {
    NEEDS_GPUS(4);
    for (DType dtype : gpu_types) {
        const Result one = train(1, dtype, 1, 3);
        for (int ranks : {2, 3, 4}) {
            const Result some = train(ranks, dtype, 1, 3);
            expect_same(some, one, dtype == DType::bf16 ? 2e-3 : 1e-4);
            EXPECT_LT(some.part, one.part / ranks + 64 * ranks);
        }
    }
}

TEST(DataParallelSlow, AStateGoesOnWithAnotherNumberOfRanks) {
    NEEDS_GPUS(4);
    const std::string state = testing::TempDir() + "ranks_state";
    const Result straight = train(4, DType::bf16, 1, 4);
    train(4, DType::bf16, 1, 2, "", state);
    const Result same = train(4, DType::bf16, 3, 4, state);
    EXPECT_TRUE(same.weights == straight.weights); // bit for bit
    const Result fewer = train(2, DType::bf16, 3, 4, state);
    expect_same({fewer.losses, fewer.norms, fewer.weights, 0, 0},
                {same.losses, same.norms, same.weights, 0, 0}, 2e-3);
    remove_tree(state);
}
