// rlhf reward CONFIG: trains a reward model on pairs, on labelled answers or on labelled steps.

#include "app/commands.h"
#include "app/inputs.h"
#include "app/reward_data.h"
#include "app/train_loop.h"
#include "base/rng.h"
#include "dist/processes.h"
#include "model/hf.h"
#include "model/same_tokenizer.h"
#include "train/order.h"
#include "train/shares.h"

#include <cmath>
#include <cstdio>
#include <numeric>

namespace {

struct PreferenceSettings : DataSettings { // data.*
    int window = 0;
    void visit(Fields& v) {
        DataSettings::visit(v);
        v.field("window", window, 0, 1e9,
                "longest prompt and answer together, tokens; 0: the model's context");
    }
};

struct RewardConfig {
    ModelSettings model;
    RewardSettings reward;
    RunSettings run;
    ComputeSettings compute;
    PreferenceSettings data;
    ChatConfig chat;
    TaskConfig task;
    TrainSettings train;
    OptimSettings optim;
    DistSettings dist;
    void visit(Fields& v) {
        v.object("model", model, "the model to start from, of any size");
        v.object("reward", reward, "which reward model");
        v.object("run", run, "the run directory");
        v.object("compute", compute, "the machine");
        v.object("data", data, "pairs, labelled answers or labelled steps");
        v.object("chat", chat, "conversations");
        v.object("task", task, "prm: whose rule labels the steps of answers that have no labels");
        v.object("train", train, "steps");
        v.object("optim", optim, "AdamW");
        v.object("dist", dist, "several processes (mpirun)");
    }
};

// The start with the head that the kind needs, new where the start has none.
std::unique_ptr<Model> reward_start(const RewardConfig& config, const std::string& directory,
                                    const ComputeConfig& compute) {
    ModelConfig shape = read_model_config(directory);
    const bool has_lm_head = shape.head == Head::lm;
    shape_reward_model(shape, config.reward);
    CHECK(shape.head != Head::lm || has_lm_head,
          "%s is a reward model with a scalar head; reward.kind=%s reads the head of a language "
          "model",
          directory.c_str(), config.reward.kind.c_str());
    if (shape.head != Head::lm) shape.tied_embeddings = true; // there is no LM head
    auto model = make_model(shape, compute, false);
    uint64_t seed = mix64((uint64_t)config.run.seed + 2);
    read_weights(*model, directory, &seed);
    return model;
}

// The frozen model of the log-ratio.
struct Reference {
    std::unique_ptr<Model> model;
    std::unique_ptr<Pass> pass;
    int budget = 0;
    Reference(const RewardConfig& config, const Model& trained, const ComputeConfig& compute) {
        if (!reward_kind(config.reward.kind).ratio) return;
        const std::string& named = config.reward.reference;
        model = load_model(named.empty() ? config.model.path : named, compute, false);
        CHECK(model->config.head == Head::lm,
              "the reference %s is a reward model; it must be a language model",
              model->source.c_str());
        check_same_tokenizer(model->source, trained.source);
        budget = config.train.tokens_per_micro_batch;
        pass = std::make_unique<Pass>(*model, budget, budget, false);
    }
    void fill(RewardBatch& batch) const {
        if (model)
            batch.logp_ref = head_scores(*pass, ScoreHead::log_prob, batch.sequences, budget);
    }
    // kto's reference point changes with the policy.
    double z0(const RewardBatch& batch, Pass& policy) const {
        const std::vector<TrainSequence> others = mismatched(batch);
        return kto_reference_point(head_scores(policy, ScoreHead::log_prob, others, budget),
                                   head_scores(*pass, ScoreHead::log_prob, others, budget));
    }
};

std::vector<RewardExample> read_examples(const RewardConfig& config, const std::string& path,
                                         const Inputs& inputs, const Task* task) {
    const int window = config.data.window ? config.data.window : inputs.options.max_length;
    PreferenceData data = read_preferences(path, inputs.options, window);
    if (std::string told = data.told(); !told.empty() && this_process().rank == 0)
        std::fprintf(stderr, "%s\n", told.c_str());
    return reward_examples(data, reward_kind(config.reward.kind), task);
}

RewardBatch held_out_batch(const RewardConfig& config, const Inputs& inputs, const Task* task) {
    if (config.data.eval.empty()) return {};
    std::vector<RewardExample> examples = read_examples(config, config.data.eval, inputs, task);
    size_t count = examples.size(), limit = (size_t)config.data.eval_rows;
    std::vector<int> all(limit ? std::min(limit, count) : count);
    std::iota(all.begin(), all.end(), 0);
    return reward_batch(examples, all);
}

std::vector<TrainSequence> sequences_of(const std::vector<RewardExample>& examples) {
    std::vector<TrainSequence> all;
    for (const RewardExample& example : examples)
        all.insert(all.end(), example.sequences.begin(), example.sequences.end());
    return all;
}

// Figures that do not exist for this kind of data are left out.
void put(Json& members, const char* prefix, const RewardFigures& figures) {
    for (auto [name, value] : {std::pair{"loss", figures.loss},
                               {"pair_accuracy", figures.pair_accuracy},
                               {"score_gap", figures.gap},
                               {"label_accuracy", figures.label_accuracy},
                               {"score_std", figures.spread}})
        if (!std::isnan(value)) members[std::string(prefix) + name] = value;
}

std::string words_of(const Json& members, const std::string& prefix) {
    std::string text;
    for (auto& [name, value] : members.items())
        text += format("%s%s %.4f", text.empty() ? "" : ", ", name.substr(prefix.size()).c_str(),
                       value.get<double>());
    return text;
}

} // namespace

static int reward(RewardConfig& config, const Args&) {
    CHECK(!config.model.path.empty(),
          "model.path is missing: the language model to start the reward model from");
    CHECK(!config.data.train.empty(), "data.train is missing: the file of pairs or labelled rows");
    resolve_reward(config.reward);
    Fields fields;
    config.visit(fields);
    ComputeConfig compute = apply_compute(config.compute);
    const Ranks ranks(compute, config.dist);
    Run run(config.run, fields, config.train.steps, compute.ranks);
    if (tell_if_finished(run, config.train)) return 0;
    if (reward_kind(config.reward.kind).ratio && config.reward.reference.empty())
        run.reads("model.path", config.model.path); // the reference
    const std::string directory =
        run.checkpoint.empty() ? model_directory(config.model.path) : run.checkpoint;
    std::unique_ptr<Model> model = reward_start(config, directory, compute);
    Inputs inputs = open_inputs(directory, model->config, config.data.template_name,
                                config.data.add_eos, config.chat);
    std::unique_ptr<Task> task;
    if (!config.task.name.empty()) task = std::make_unique<Task>(make_task(config.task));
    const std::vector<RewardExample> examples =
        read_examples(config, config.data.train, inputs, task.get());
    RewardBatch held_out = held_out_batch(config, inputs, task.get());
    Reference reference(config, *model, compute);
    reference.fill(held_out);
    const int budget = config.train.tokens_per_micro_batch;
    Trainer trainer(*model, budget, budget);
    RowOrder order((int)examples.size(), config.data.shuffle, config.run.seed);

    const bool kto = config.reward.kind == "kto";
    TrainLoop loop{"reward",
                   "loss",
                   run,
                   trainer,
                   config.train,
                   config.optim,
                   config.data.train,
                   fingerprint_of(sequences_of(examples))};
    loop.gradients = [&](int64_t step, Json& line) {
        RewardBatch batch = reward_batch(examples, order.of_step(step, config.train.rows_per_step));
        reference.fill(batch);
        if (kto) line["kl_z0_nats"] = batch.z0 = reference.z0(batch, trainer.pass);
        std::vector<std::vector<double>> outputs(batch.sequences.size());
        std::vector<int> mine; // of them, this rank's
        Objective objective = reward_objective(config.reward, batch);
        const ScoreHead head = trained_head(config.reward);
        auto loss = objective.loss;
        objective.loss = [&](std::span<const TokenOutputs> rows, std::span<TokenGrads> grads) {
            for (const TokenOutputs& row : rows) {
                std::span<const double> values = head_of(row, head);
                outputs[row.index].assign(values.begin(), values.end());
                mine.push_back(row.index);
            }
            return loss(rows, grads);
        };
        StepStats stats = accumulate_gradients(trainer, batch.sequences, objective);
        share_rows(compute.ranks, mine, outputs);
        put(line, "train_", reward_figures(config.reward, batch, outputs));
        line.erase("train_loss"); // "loss" is this figure
        return stats;
    };
    if (!held_out.sequences.empty())
        loop.evaluate = [&](bool before) {
            if (kto) held_out.z0 = reference.z0(held_out, trainer.pass);
            auto outputs =
                head_scores(trainer.pass, trained_head(config.reward), held_out.sequences, budget);
            TrainLoop::Held held;
            const char* prefix = before ? "eval_before_" : "eval_";
            const RewardFigures figures = reward_figures(config.reward, held_out, outputs);
            put(held.members, prefix, figures);
            held.loss = figures.loss;
            held.words = words_of(held.members, prefix);
            return held;
        };
    loop.go();
    if (!ranks.speaks()) return 0;
    if (!loop.before.is_null())
        std::printf("held out before: %s\nheld out after:  %s\n",
                    words_of(loop.before, "eval_before_").c_str(),
                    words_of(loop.after, "eval_").c_str());
    std::printf("the %s is %s\n", reward_kind(config.reward.kind).policy ? "model" : "reward model",
                run.checkpoint.c_str());
    return 0;
}

extern const Command reward_command;
const Command reward_command = command<RewardConfig, reward>(
    "reward",
    "train a reward model (qrm, orm, prm, ...), or a policy on preferences (dpo, kto, ...)");
