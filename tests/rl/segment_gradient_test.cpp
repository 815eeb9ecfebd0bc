// The losses of DRM and TRM through a whole model in f64: central differences along random directions
// of every parameter, for verdicts with field weights, segment-credited GRPO, DPO with a supervised
// term, and the two judges' losses.

#include "reward/reward_loss.h"
#include "rl/advantage.h"
#include "rl/aggregation.h"
#include "rl/loss.h"
#include "rl/select.h"
#include "testing.h"
#include "tiny_model.h"
#include "train/sft_loss.h"

#include <cstring>

namespace {

ComputeConfig f64() {
    ComputeConfig compute;
    compute.dtype = DType::f64;
    return compute;
}

std::vector<TrainSequence> some_answers() {
    std::vector<TrainSequence> list;
    for (auto [length, first, bundle] : {std::array{9, 3, 0}, {6, 3, 0}, {8, 2, 1}, {5, 2, 1}}) {
        TrainSequence& sequence = list.emplace_back();
        sequence.ids = random_ids(length, 37, 60 + length);
        sequence.bundle = bundle;
        for (int t = first; t < length; ++t) sequence.target.push_back(t);
    }
    return list;
}

void expect_gradients(Model& model, const std::vector<TrainSequence>& sequences,
                      const Objective& objective) {
    Trainer trainer(model, 64, 8);
    auto loss = [&] {
        refresh_weights(model.params, *model.ops);
        return accumulate_gradients(trainer, sequences, objective).loss;
    };
    loss();
    std::vector<std::vector<double>> grads;
    for (const Param& grad : trainer.grads.list)
        grads.emplace_back(grad.tensor.as<double>(), grad.tensor.as<double>() + grad.tensor.size());
    Rng rng(11);
    double all = 0;
    for (size_t p = 0; p < grads.size(); ++p) {
        const Tensor x = model.params.list[p].tensor;
        double want = 0, length = 0;
        const double h = 1e-5;
        std::vector<double> u(x.size()), at(x.as<double>(), x.as<double>() + x.size());
        for (int64_t i = 0; i < x.size(); ++i) {
            u[i] = rng.normal();
            want += u[i] * grads[p][i], length += grads[p][i] * grads[p][i];
        }
        all += length;
        auto moved = [&](double by) {
            for (int64_t i = 0; i < x.size(); ++i) x.as<double>()[i] = at[i] + by * u[i];
            const double value = loss();
            std::memcpy(x.data, at.data(), x.bytes());
            return value;
        };
        const double near = (moved(h) - moved(-h)) / (2 * h);
        const double far = (moved(2 * h) - moved(-2 * h)) / (4 * h);
        EXPECT_LE(std::abs((4 * near - far) / 3 - want), 1e-7 * (std::sqrt(length) + 1e-3))
            << model.params.list[p].name;
    }
    EXPECT_GT(all, 1e-6) << "a loss without a gradient checks nothing";
}

} // namespace

TEST(ThroughAModel, VerdictsWithFieldWeights) {
    const auto model = tiny_model(tiny_config(), f64());
    const auto sequences = some_answers();
    std::vector<std::vector<double>> weights;
    Rng rng(3);
    for (const TrainSequence& sequence : sequences) {
        weights.emplace_back();
        for (size_t t = 0; t < sequence.target.size(); ++t) weights.back().push_back(rng.below(3));
    }
    expect_gradients(*model, sequences, sft_loss(sequences, weights));
}

TEST(ThroughAModel, AWeightOfZeroIsATokenThatDoesNotCount) {
    const auto model = tiny_model(tiny_config(), f64());
    auto sequences = some_answers();
    std::vector<std::vector<double>> weights;
    for (const TrainSequence& sequence : sequences)
        weights.push_back(std::vector<double>(sequence.target.size(), 1));
    Trainer trainer(*model, 64, 8);
    const double all = accumulate_gradients(trainer, sequences, sft_loss(sequences)).loss;
    EXPECT_EQ(accumulate_gradients(trainer, sequences, sft_loss(sequences, weights)).loss, all);
    weights[0][2] = 0;
    auto other = sequences;
    const auto loss_of = [&](const std::vector<TrainSequence>& rows) {
        return accumulate_gradients(trainer, rows, sft_loss(rows, weights)).loss;
    };
    // the last token of the first row: nothing reads it but its own term
    const double before = loss_of(sequences);
    weights[0].back() = 0;
    const double without = loss_of(sequences);
    other[0].ids.back() = (other[0].ids.back() + 1) % 37;
    EXPECT_EQ(loss_of(other), without);
    EXPECT_NE(before, without);
}

// Two prompts of two completions with segments that have credit of their own; some ratios are
// clipped, the rest is on its way.
TEST(ThroughAModel, SegmentCreditedGrpo) {
    const auto model = tiny_model(tiny_config(), f64());
    const auto sequences = some_answers();
    for (SegmentPool pool : {SegmentPool::group, SegmentPool::index_centre_group_std}) {
        AlgoConfig algo = preset_algorithm("grpo");
        algo.kl = Kl::k3, algo.kl_coef = 0.02;
        algo.advantage.std = Std::population, algo.advantage.segment_pool = pool;
        Rollouts r;
        Pass pass(*model, 64, 8, false);
        Rng rng(5);
        const auto outputs = evaluate_sequences(pass, sequences, 64, {});
        for (size_t i = 0; i < sequences.size(); ++i) {
            const int length = (int)sequences[i].target.size();
            r.group.push_back((int)i / 2), r.reward.push_back(0), r.finished.push_back(1);
            r.offset.push_back(r.offset.back() + length);
            for (int end : {1, length - 1}) { // one token, then all but the last
                r.segments.end.push_back(end);
                r.segment_credit.push_back(rng.normal());
            }
            r.segments.first.push_back((int64_t)r.segments.end.size());
            for (double logp : outputs[i].logp) {
                r.logp_old.push_back(logp + 0.1 * rng.normal());
                r.logp_ref.push_back(logp + 0.1 * rng.normal());
            }
        }
        r.groups = 2;
        r.logp = r.logp_old;
        const Selection kept = select(r, advantages(r, algo), algo, SelectConfig());
        double spread = 0;
        for (double a : kept.A.token) spread += std::abs(a);
        ASSERT_GT(spread, 0);
        const Weights weights = weigh(r, kept, algo, Denominator::of_aggregation);
        Objective objective;
        objective.loss = [&](std::span<const TokenOutputs> rows, std::span<TokenGrads> grads) {
            Rollouts now = r;
            for (const TokenOutputs& row : rows)
                std::copy(row.logp.begin(), row.logp.end(), now.logp.begin() + r.offset[row.index]);
            const BatchLoss loss = batch_loss(now, kept, weights, algo);
            for (size_t s = 0; s < rows.size(); ++s)
                for (size_t t = 0; t < rows[s].logp.size(); ++t)
                    grads[s].dlogp[t] = loss.grads.dlogp[r.offset[rows[s].index] + t];
            return loss.parts.total();
        };
        expect_gradients(*model, sequences, objective);
    }
}

TEST(ThroughAModel, DpoWithASupervisedTermAndBothJudges) {
    for (const char* kind : {"dpo", "yes_no", "orm"}) {
        SCOPED_TRACE(kind);
        RewardSettings settings;
        settings.kind = kind;
        if (settings.kind == "dpo") settings.sft_coef = 0.2;
        resolve_reward(settings);
        ModelConfig config = tiny_config();
        shape_reward_model(config, settings);
        const auto model = tiny_model(config, f64());
        RewardBatch batch;
        batch.sequences = some_answers(), batch.paired = true;
        Rng rng(2);
        for (TrainSequence& sequence : batch.sequences) {
            if (settings.kind != "dpo") sequence.target = {sequence.target.back()};
            batch.logp_ref.emplace_back();
            for (size_t t = 0; t < sequence.target.size(); ++t)
                batch.logp_ref.back().push_back(-3 + 0.3 * rng.normal());
        }
        expect_gradients(*model, batch.sequences, reward_objective(settings, batch));
    }
}

// The derivative by the logit: sigma(z) - y, and of a pair's two scores.
TEST(YesNo, IsTheCrossEntropyOfTheLogit) {
    RewardSettings settings;
    settings.kind = "yes_no";
    resolve_reward(settings);
    for (auto [z, yes, want] : {std::tuple{1.5, true, -.182426}, {1.5, false, .817574}}) {
        RewardBatch batch;
        batch.paired = true;
        for (int side : {0, 1}) {
            TrainSequence& sequence = batch.sequences.emplace_back();
            sequence.ids = {1, 2 + side}, sequence.target = {1}, sequence.bundle = 0;
        }
        const double logp[2] = {yes ? z : 0, yes ? 0 : z}; // of the right word, of the other
        double grad[2] = {0, 0};
        std::vector<TokenOutputs> rows(2);
        std::vector<TokenGrads> grads(2);
        for (int side : {0, 1}) {
            rows[side].index = side;
            rows[side].logp = {&logp[side], 1}, grads[side].dlogp = {&grad[side], 1};
        }
        const double loss = reward_objective(settings, batch).loss(rows, grads);
        EXPECT_NEAR(grad[yes ? 0 : 1], want, 5e-7) << "by the logit of yes";
        EXPECT_NEAR(grad[0], -grad[1], 1e-15);
        EXPECT_NEAR(loss, std::log1p(std::exp(yes ? -z : z)), 1e-12);
    }
}
