// Every kind of reward model, with each of its heads, through a whole tiny network: the objective of a step of
// three pairs, shared prompts and micro-batches as in training, by every parameter.

#include "app/check/check.h"
#include "reward/reward_loss.h"

#include <cstdio>

namespace {

ModelConfig tiny_config() {
    ModelConfig m; // sizes that divide nothing, grouped queries
    m.L = 2, m.C = 15, m.H = 4, m.K = 2, m.D = 6, m.F = 21, m.V = 37, m.max_positions = 64;
    return m;
}

// Three pairs behind prompts of their own, each answer of another length, labels of the kind's sort.
RewardBatch random_batch(const RewardKind& kind, int V, Rng& rng) {
    RewardBatch batch;
    batch.paired = true;
    batch.z0 = 0.7; // kto's
    for (int pair = 0; pair < 3; ++pair) {
        std::vector<int32_t> prompt;
        for (int t = 0; t < 4 + pair; ++t) prompt.push_back(rng.below(V));
        for (int side = 0; side < 2; ++side) {
            TrainSequence& sequence = batch.sequences.emplace_back();
            sequence.ids = prompt;
            const int length = 3 + rng.below(5), first = (int)prompt.size();
            for (int t = 0; t < length; ++t) sequence.ids.push_back(rng.below(V));
            const int last = first + length - 1;
            if (kind.reads == RewardKind::Reads::last)
                sequence.target = {last};
            else if (kind.reads == RewardKind::Reads::steps)
                sequence.target = {first + 1, last};
            else
                for (int t = first; t <= last; ++t) sequence.target.push_back(t);
            sequence.bundle = sequence.prompt = pair, sequence.shared = first - 1;
            if (kind.reads == RewardKind::Reads::steps)
                batch.label.push_back({(double)rng.below(3) - 1, (double)rng.below(3) - 1});
            else
                batch.label.push_back({side == 0 ? 1.0 : 0.0});
            batch.logp_ref.emplace_back();
            for (size_t t = 0; t < sequence.target.size(); ++t)
                batch.logp_ref.back().push_back(-3 + 0.3 * rng.normal());
        }
    }
    return batch;
}

void check_reward(GradientTable& table, RewardSettings settings) {
    resolve_reward(settings);
    ModelConfig config = tiny_config();
    shape_reward_model(config, settings);
    ComputeConfig compute;
    compute.dtype = DType::f64;
    auto model = make_model(config, compute, false);
    Rng rng(31);
    randomise(*model, rng);
    const RewardBatch batch = random_batch(reward_kind(settings.kind), config.V, rng);
    const Objective objective = reward_objective(settings, batch);
    const int budget = 24; // less than the step
    Trainer trainer(*model, budget, 8);
    accumulate_gradients(trainer, batch.sequences, objective);
    auto loss = [&] {
        refresh_weights(model->params, *model->ops);
        return reward_figures(
                   settings, batch,
                   head_scores(trainer.pass, trained_head(settings), batch.sequences, budget))
            .loss;
    };
    double worst = 0;
    std::string where;
    for (size_t i = 0; i < model->params.list.size(); ++i) {
        double error =
            direction_error(model->params.list[i].tensor, trainer.grads.list[i].tensor, loss, rng);
        if (!(error <= worst)) worst = error, where = model->params.list[i].name;
    }
    table.row((reward_kind(settings.kind).policy ? "preferences, " : "reward model, ") +
                  settings.kind + (settings.kind == "qrm" ? ", head " + settings.head : ""),
              worst);
    if (!(worst <= table.tolerance)) std::printf("  worst: %s\n", where.c_str());
}

} // namespace

void check_rewards(GradientTable& table) {
    for (const RewardKind& kind : reward_kind_table()) {
        RewardSettings settings;
        settings.kind = kind.name;
        if (settings.kind == "qrm") continue; // below, with each of its heads
        if (settings.kind == "orm_pointwise") settings.focal = 2;
        if (settings.kind == "kto") settings.desirable = 1.5;
        if (kind.policy && kind.pairs()) settings.sft_coef = 0.7;
        check_reward(table, settings);
    }
    for (const char* head : {"scalar", "logit", "log_softmax"}) {
        RewardSettings settings;
        settings.kind = "qrm", settings.head = head;
        check_reward(table, settings);
    }
}
